"""Two runs side by side: what the second reaches, over the first, on the same episodes."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mlcl import results, statistics
from mlcl.errors import UserError

KEYS = ["shot", "classifier", "representation"]


def compare(first: Path, second: Path) -> pd.DataFrame:
    """A row for each shot, classifier and representation that both evaluations have: the second minus the first.

    Columns: the keys, the two accuracies, difference and ci95 in percent, p of the paired t test, and p_holm,
    corrected for the number of rows. Raises `UserError` where the two are of different data or episodes.
    """
    (run, one), (other, two) = results.read_run(first), results.read_run(second)
    if run[0] != other[0]:
        raise UserError(f"{second}: is of {other[0]}, and {first} of {run[0]}; compare runs on one data set")
    sides = [frame.pivot(index=KEYS, columns="episode", values="accuracy") for frame in (one, two)]
    if not sides[0].columns.equals(sides[1].columns):
        counts = " and ".join(str(len(side.columns)) for side in sides)
        raise UserError(f"{second}: met other episodes than {first} ({counts}); evaluate both with the same config")
    rows = []
    for key in one.set_index(KEYS).index.unique().intersection(sides[1].index, sort=False):
        a, b = (100 * side.loc[key].to_numpy() for side in sides)
        found = statistics.effect([b - a])
        rows.append([*key, a.mean(), b.mean(), found.mean, found.half_width, found.p])
    if not rows:
        raise UserError(f"{second}: has no shot, classifier and representation in common with {first}")
    table = pd.DataFrame(rows, columns=[*KEYS, "first", "second", "difference", "ci95", "p"])
    return table.assign(p_holm=statistics.holm(table["p"]))
