"""Contrasts: weighted sums of accuracies on the same episodes, such as one side minus the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import NamedTuple

import pandas as pd

from mlcl import statistics
from mlcl.tables.layout import Table, lay_out
from mlcl.tables.study import Side, Study, columns, protocol

NOTE = (
    "All sides of a difference meet the same episodes, and the interval is over the episodes' differences. Bold: the "
    "p-value of the paired t test over the episodes, corrected for the number of differences in the table (Holm), lies "
    "below 0.05; it is about these trainings, and others may differ. The CSV has the p-values, a bootstrap interval "
    "and, where there are several training seeds, the interval over seeds."
)


class Pair(NamedTuple):
    """A line of a table of differences, `first` minus `second`."""

    block: str
    label: str
    first: Side
    second: Side


def contrast(study: Study, dataset: str, shot: int, weights: Mapping[Side, float]) -> dict[str, float]:
    """The sum of the sides' accuracies, times their weights, episode by episode: a row's numbers."""
    values = sum(weight * study.accuracies(dataset, shot, side) for side, weight in weights.items())
    seeds, episodes = values.shape
    found = statistics.effect(values)
    return {
        "seeds": seeds, "episodes": episodes, "difference": found.mean, "ci95": found.half_width, "p": found.p,
        "bootstrap_low": found.bootstrap_low, "bootstrap_high": found.bootstrap_high,
        "ci95_over_seeds": found.half_width_over_seeds,
    }  # fmt: skip


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
    frame, experiment = judged(differences(study, pairs)), study.experiment
    notes = [protocol(experiment, experiment.evaluation.classifiers[0]), *notes, NOTE]
    laid_out = lay_out(title, frame, columns(experiment), {"label": heading}, "difference", notes, sign="+")
    return frame.drop(columns="bold"), [laid_out]


def judged(frame: pd.DataFrame) -> pd.DataFrame:
    """With p_holm, the p-values corrected over the table, and what is bold."""
    corrected = statistics.holm(frame["p"])
    frame.insert(frame.columns.get_loc("p") + 1, "p_holm", corrected)
    return frame.assign(bold=corrected < 0.05)
