"""Which levels an encoder is to be solved by: what does best on the validation classes.

The abstract of the paper leaves open which levels its ensemble spans. Here no novel class has a say in it: every level
and every ensemble of levels solves episodes of the validation classes. The best of them is that run's `CHOSEN`, if the
95% interval of what it gains on the last level, over the same episodes, lies above zero; else the last level is.
"""

from __future__ import annotations

import pandas as pd

from mlcl import config, statistics
from mlcl.evaluations import KEYS, Key
from mlcl.representations import CHOSEN, ensembles, level


def evaluation(spec: config.Evaluation) -> config.Evaluation:
    """The evaluation by which `spec` chooses and weighs levels: every ensemble, on the validation classes."""
    return spec.model_copy(
        update={"split": "val", "support_copies": 0, "subsets": True, "choose": False, "weigh": False}
    )


def choose(rows: pd.DataFrame, levels: range) -> dict[Key, str]:
    """The representation that is chosen, by `Key`; of equals the one with the fewest levels.

    `rows` has `KEYS`, episode and accuracy, of episodes of the validation classes. Raises `UserError` for fewer than
    two episodes.
    """
    chosen, last = {}, level(levels[-1])
    for key, some in rows.groupby(KEYS[:-1]):
        accuracies = some.pivot(index="episode", columns="representation", values="accuracy")[ensembles(levels)]
        best = accuracies.mean().round(9).idxmax()  # without the last bits, by which equals differ
        gain, half_width = statistics.interval(accuracies[best] - accuracies[last])
        chosen[key] = best if gain > half_width else last
    return chosen


def add(rows: pd.DataFrame, chosen: dict[Key, str]) -> pd.DataFrame:
    """`rows`, of the novel classes, with `CHOSEN`: the accuracies of the representation that `chosen` names."""
    wanted = pd.MultiIndex.from_tuples([(*key, name) for key, name in chosen.items()])
    found = rows.set_index(KEYS).index.isin(wanted)
    return pd.concat([rows, rows[found].assign(representation=CHOSEN)], ignore_index=True)
