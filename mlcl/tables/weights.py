"""What it brings to weigh the levels on the validation classes, and which weights they were given."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import numpy as np
import pandas as pd

from mlcl.tables import contrasts
from mlcl.tables.choice import pairs
from mlcl.tables.differences import from_first
from mlcl.tables.layout import MINUS, Table
from mlcl.tables.study import WEIGHTS, Study, columns, titles


def build(study: Study) -> tuple[pd.DataFrame, list[Table]]:
    trainings = ", the mean over the trainings" if len(study.experiment.seeds) > 1 else ""
    notes = [
        f"Weighted levels: {WEIGHTS}, on as many episodes; for each training and number of shots by itself. The novel "
        f"classes have no say in it. The weights, from the first level to the last{trainings}:",
        *_weights(study),
    ]
    role = "weighted levels"
    compared = chain(pairs(study.experiment, role), from_first(study.experiment, role))
    title = f"Levels weighted on the validation classes {MINUS} levels without weights, points of accuracy"
    return contrasts.table(study, title, "Difference", compared, notes)


def _weights(study: Study) -> Iterator[str]:
    """A note a method."""
    experiment, evaluation = study.experiment, study.experiment.evaluation
    first, names = (evaluation.processing[0], evaluation.classifiers[0]), titles(experiment)
    for name in experiment.methods:
        said = []
        for dataset, shot in columns(experiment):
            runs = [found[shot, *first] for found in study.results.weights[dataset, name]]
            said.append(f"{', '.join(f'{w:.2f}' for w in np.mean(runs, 0))} on {dataset} {shot}-shot")
        yield f"{names[name]}: {'; '.join(said)}."
