"""Which levels an encoder is to be solved by: those whose ensemble does best on the validation classes.

The abstract of the paper leaves open which levels its ensemble spans. Here no novel class has a say in it: every level
and every ensemble of levels solves episodes of the validation classes, and the best of them is that run's `CHOSEN`.
"""

from __future__ import annotations

import pandas as pd

from mlcl.evaluations import KEYS
from mlcl.representations import CHOSEN, ensembles

Key = tuple[int, str, str]
"""Shot, processing and classifier."""


def choose(rows: pd.DataFrame, levels: range) -> dict[Key, str]:
    """The representation with the highest mean accuracy, of equals the one with the fewest levels, by `Key`.

    `rows` has `KEYS` and accuracy, of episodes of the validation classes.
    """
    means = rows.groupby(KEYS)["accuracy"].mean().unstack()[ensembles(levels)]
    return means.idxmax(axis=1).to_dict()


def add(rows: pd.DataFrame, chosen: dict[Key, str]) -> pd.DataFrame:
    """`rows`, of the novel classes, with `CHOSEN`: the accuracies of the representation that `chosen` names."""
    wanted = pd.MultiIndex.from_tuples([(*key, name) for key, name in chosen.items()])
    found = rows.set_index(KEYS).index.isin(wanted)
    return pd.concat([rows, rows[found].assign(representation=CHOSEN)], ignore_index=True)
