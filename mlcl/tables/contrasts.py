"""Contrasts: weighted sums of accuracies on the same episodes, such as one side minus the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd

from mlcl import statistics
from mlcl.tables.layout import Table, lay_out
from mlcl.tables.study import Side, Study, columns, protocol

SHOWN = 0.05


class Pair(NamedTuple):
    """A line of a table of differences, `first` minus `second`."""

    block: str
    label: str
    first: Side
    second: Side


def contrast(study: Study, dataset: str, shot: int, weights: Mapping[Side, float]) -> dict[str, float]:
    """The sum of the sides' accuracies, times their weights, episode by episode: a row's numbers."""
    values = weighted(study, dataset, shot, weights)
    seeds, episodes = values.shape
    found = statistics.effect(values)
    return {
        "seeds": seeds, "episodes": episodes, "difference": found.mean, "ci95": found.half_width, "p": found.p,
        "bootstrap_low": found.bootstrap_low, "bootstrap_high": found.bootstrap_high,
        "ci95_over_seeds": found.half_width_over_seeds,
    }  # fmt: skip


def weighted(study: Study, dataset: str, shot: int, weights: Mapping[Side, float]) -> np.ndarray:
    """[seeds, episodes]: the sum of the sides' accuracies, times their weights; [1, episodes], the mean over the seeds,
    where one side is a deep ensemble, which is of all seeds."""
    accuracies = {side: study.accuracies(dataset, shot, side) for side in weights}
    if len({len(values) for values in accuracies.values()}) > 1:
        accuracies = {side: values.mean(axis=0, keepdims=True) for side, values in accuracies.items()}
    return sum(weight * accuracies[side] for side, weight in weights.items())


def differences(study: Study, pairs: Iterable[Pair]) -> pd.DataFrame:
    """A row a pair, data set and shot, in points of accuracy."""
    rows = []
    for pair, (dataset, shot) in product(pairs, columns(study.experiment)):
        row = {"block": pair.block, "label": pair.label, "dataset": dataset, "shot": shot}
        for side in ("first", "second"):
            given = study.complete(getattr(pair, side))
            row |= {f"{side}_{key}": value for key, value in given._asdict().items()}
            row[f"{side}_evaluations"] = study.sources[dataset, given.method]
        rows.append(row | contrast(study, dataset, shot, {pair.first: 1, pair.second: -1}))
    return pd.DataFrame(rows)


def table(
    study: Study, title: str, heading: str, pairs: Iterable[Pair], notes: Sequence[str] = ()
) -> tuple[pd.DataFrame, list[Table]]:
    """The table of the pairs' differences, judged; `heading` stands above their labels."""
    return judged(study, title, {"label": heading}, differences(study, pairs), notes)


def judged(
    study: Study, title: str, labels: Mapping[str, str], frame: pd.DataFrame, notes: Sequence[str]
) -> tuple[pd.DataFrame, list[Table]]:
    """The frame with p_holm, its p-values corrected over the table; and laid out, what is shown in bold."""
    experiment = study.experiment
    frame.insert(frame.columns.get_loc("p") + 1, "p_holm", statistics.holm(frame["p"]))
    marked = frame.assign(bold=[verdict(row) != 0 for row in frame.to_dict("records")])
    notes = [protocol(experiment, experiment.evaluation.classifiers[0]), *notes, _note(frame)]
    return frame, [lay_out(title, marked, columns(experiment), labels, "difference", notes, differences=True)]


def verdict(row: Mapping) -> int:
    """1 where the difference of a judged row is shown to be positive, -1 negative, 0 neither."""
    shown = row["p_holm"] < SHOWN and not unsure(row["difference"], row["ci95_over_seeds"])
    return int(np.sign(row["difference"])) if shown else 0


def unsure(difference: float, over_seeds: float) -> bool:
    """Whether the interval over the training seeds, where there is one (not NaN), holds zero."""
    return abs(difference) <= over_seeds


def _note(frame: pd.DataFrame) -> str:
    brackets, bold = "", "; it is about these trainings, and others may differ"
    if frame["ci95_over_seeds"].notna().any():
        brackets = "; in brackets stands the half-width of the interval over the training seeds"
        bold = ", and the interval over the seeds leaves out zero"
    return (
        "All sides of a difference meet the same episodes, and the interval is over the episodes' differences"
        f"{brackets}. Bold: the p-value of the paired t test over the episodes, corrected for the number of "
        f"differences in the table (Holm), lies below {SHOWN}{bold}. The CSV has the p-values and a bootstrap interval."
    )
