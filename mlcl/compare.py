"""Two runs side by side: what the second reaches, over the first, on the same episodes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from mlcl import evaluations, statistics
from mlcl.errors import UserError
from mlcl.evaluations import KEYS


def compare(first: Path, second: Path, representations: Sequence[str] = ()) -> pd.DataFrame:
    """The second minus the first: a row for each shot, processing, classifier and representation that both have; or, of
    two `representations`, the second run by the second minus the first run by the first.

    Columns: the keys, the two accuracies, difference and ci95 in percent, p of the paired t test, and p_holm,
    corrected for the number of rows. Raises `UserError` where the two are of different data or episodes, and where one
    lacks its representation.
    """
    one, two = evaluations.read(first), evaluations.read(second)
    known = None not in (one.data, two.data)  # else, of older evaluations, only the name tells
    if (one.data != two.data) if known else (one.run[0] != two.run[0]):
        raise UserError(f"{second}: is of other data than {first}; compare runs on one data set")
    for key, value in one.protocol.items():
        if two.protocol[key] != value:
            raise UserError(
                f"{second}: was evaluated with {key} {two.protocol[key]}, and {first} with {value}; evaluate both with "
                "the same config"
            )
    frames = [one.rows, two.rows]
    if representations:
        wanted = zip((first, second), frames, representations, strict=True)
        both = f"{representations[1]} \N{MINUS SIGN} {representations[0]}"
        frames = [_solved_by(*each).assign(representation=both) for each in wanted]
    sides = [frame.pivot(index=KEYS, columns="episode", values="accuracy") for frame in frames]
    if not sides[0].columns.equals(sides[1].columns):
        counts = " and ".join(str(len(side.columns)) for side in sides)
        raise UserError(f"{second}: met other episodes than {first} ({counts}); evaluate both with the same config")
    rows = []
    for key in frames[0].set_index(KEYS).index.unique().intersection(sides[1].index, sort=False):
        a, b = (100 * side.loc[key].to_numpy() for side in sides)
        found = statistics.effect([b - a])
        rows.append([*key, a.mean(), b.mean(), found.mean, found.half_width, found.p])
    if not rows:
        raise UserError(f"{second}: has no shot, processing, classifier and representation in common with {first}")
    table = pd.DataFrame(rows, columns=[*KEYS, "first", "second", "difference", "ci95", "p"])
    return table.assign(p_holm=statistics.holm(table["p"]))


def _solved_by(path: Path, rows: pd.DataFrame, representation: str) -> pd.DataFrame:
    found = rows[rows["representation"] == representation]
    if found.empty:
        known = ", ".join(rows["representation"].unique())
        raise UserError(f"{path}: has no representation {representation} among {known}")
    return found
