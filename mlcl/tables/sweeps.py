"""Every variant of a sweep against the method that it varies."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pandas as pd

from mlcl.config import Experiment
from mlcl.tables import contrasts
from mlcl.tables.contrasts import Pair
from mlcl.tables.layout import MINUS, Table
from mlcl.tables.study import Study, roles, sides, titles


def build(study: Study) -> tuple[pd.DataFrame, list[Table]]:
    notes = [
        "Each line is a training of its own against the method that it varies, whose own value stands in the heading."
    ]
    title = f"Sweeps: variant {MINUS} method, points of accuracy"
    return contrasts.table(study, title, "Value", _pairs(study.experiment), notes)


def _pairs(experiment: Experiment) -> Iterator[Pair]:
    names, of = titles(experiment), sides(experiment)
    for method, sweep, label, recipe in experiment.variants:
        if recipe != method:
            key = experiment.sweeps[sweep].key
            heading = f"{names[method]}: {key} {_value(experiment, method, key)}"
            for role in roles(experiment, method):
                yield Pair(heading, f"{label}, {role}", of[recipe, role], of[method, role])


def _value(experiment: Experiment, method: str, key: str) -> str:
    value = experiment.methods[method].model_dump(mode="json")
    for step in key.split("."):
        value = value[step]
    return value if isinstance(value, str) else json.dumps(value)
