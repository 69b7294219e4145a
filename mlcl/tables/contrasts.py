"""Contrasts: weighted sums of accuracies on the same episodes, such as one side minus the other."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from mlcl import statistics
from mlcl.results import Cell
from mlcl.tables.study import Study

Side = tuple[str, str]
"""Method and representation."""

NOTE = (
    "All sides of a difference meet the same episodes, and the interval is over the episodes' differences. Bold: the "
    "paired t test's p-value, corrected for the number of differences in the table (Holm), lies below 0.05. The CSV "
    "has the p-values, a bootstrap interval and, where there are several training seeds, the interval over seeds."
)


def contrast(study: Study, dataset: str, shot: int, weights: Mapping[Side, float]) -> dict[str, float]:
    """The sum of the sides' accuracies, times their weights, episode by episode: a row's numbers."""
    classifier = study.experiment.evaluation.classifiers[0]
    values = sum(
        weight * study.results.accuracies[Cell(dataset, method, shot, classifier, representation)]
        for (method, representation), weight in weights.items()
    )
    seeds, episodes = values.shape
    found = statistics.effect(values)
    return {
        "classifier": classifier, "seeds": seeds, "episodes": episodes, "difference": found.mean,
        "ci95": found.half_width, "p": found.p, "bootstrap_low": found.bootstrap_low,
        "bootstrap_high": found.bootstrap_high, "ci95_over_seeds": found.half_width_over_seeds,
    }  # fmt: skip


def judged(frame: pd.DataFrame) -> pd.DataFrame:
    """With p_holm, the p-values corrected over the table, and what is bold."""
    corrected = statistics.holm(frame["p"])
    frame.insert(frame.columns.get_loc("p") + 1, "p_holm", corrected)
    return frame.assign(bold=corrected < 0.05)
