"""What it brings to weigh the levels on the validation classes, and which weights they were given."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pandas as pd

from mlcl.tables import contrasts
from mlcl.tables.choice import given, pairs
from mlcl.tables.differences import from_first
from mlcl.tables.layout import MINUS, Table
from mlcl.tables.study import WEIGHTS, Study


def build(study: Study) -> tuple[pd.DataFrame, list[Table]]:
    trainings = ", the mean over the trainings" if len(study.experiment.seeds) > 1 else ""
    notes = [
        f"Weighted levels: {WEIGHTS}, on as many episodes; for each training and number of shots by itself. The novel "
        f"classes have no say in it. The weights, from the first level to the last{trainings}:",
        *given(study, study.results.weights, _spelled),
    ]
    role = "weighted levels"
    compared = chain(pairs(study.experiment, role), from_first(study.experiment, role))
    title = f"Levels weighted on the validation classes {MINUS} levels without weights, points of accuracy"
    return contrasts.table(study, title, "Difference", compared, notes)


def _spelled(name: str, weights: list[list[float]]) -> str:
    return ", ".join(f"{weight:.2f}" for weight in np.mean(weights, 0))
