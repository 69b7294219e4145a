"""Which levels help: every ensemble of some levels, and every level alone, against the last level alone."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from mlcl.config import Experiment
from mlcl.representations import ensembles, level, spelled
from mlcl.tables import contrasts
from mlcl.tables.contrasts import Pair
from mlcl.tables.layout import MINUS, Table
from mlcl.tables.study import Side, Study, sides, titles


def build(study: Study) -> tuple[pd.DataFrame, list[Table]]:
    notes = ["An ensemble of some levels averages the class probabilities of one classifier a level."]
    title = f"Subsets of the levels {MINUS} last level, points of accuracy"
    return contrasts.table(study, title, "Levels", _pairs(study.experiment), notes)


def _pairs(experiment: Experiment) -> Iterator[Pair]:
    names, of = titles(experiment), sides(experiment)
    for name, method in experiment.methods.items():
        levels = method.encoder.levels
        for representation in ensembles(levels):
            if representation != level(levels[-1]):
                label = spelled(representation, levels)
                yield Pair(names[name], label, Side(name, representation), of[name, "last level"])
