"""Every classifier on features of every processing, against the first of both."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pandas as pd

from mlcl.config import Experiment
from mlcl.tables import contrasts
from mlcl.tables.contrasts import Pair
from mlcl.tables.layout import MINUS, Table
from mlcl.tables.study import PROCESSING, Study, sides, titles, words


def build(study: Study) -> tuple[pd.DataFrame, list[Table]]:
    experiment = study.experiment
    first = _label(experiment.evaluation.classifiers[0], experiment.evaluation.processing[0])
    notes = [
        f"Each line against {first}, which the other tables show. Centred: less the mean over the base classes' "
        "images, level by level. Square root: with its sign.",
    ]
    title = f"Classifiers and features {MINUS} {first}, points of accuracy"
    return contrasts.table(study, title, "Classifier, features", _pairs(experiment), notes)


def _pairs(experiment: Experiment) -> Iterator[Pair]:
    names, evaluation = titles(experiment), experiment.evaluation
    others = list(product(evaluation.classifiers, evaluation.processing))[1:]
    for (name, role), side in sides(experiment).items():
        if name in experiment.methods:
            for classifier, processing in others:
                other = side._replace(processing=processing, classifier=classifier)
                yield Pair(f"{names[name]}; solved by its {role}", _label(classifier, processing), other, side)


def _label(classifier: str, processing: str) -> str:
    return f"{words(classifier)}, {PROCESSING[processing]}"
