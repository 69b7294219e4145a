"""Every variant of a sweep against the method that it varies."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pandas as pd

from mlcl.config import Experiment, Method, Part
from mlcl.tables import contrasts
from mlcl.tables.contrasts import Pair
from mlcl.tables.layout import MINUS, Table
from mlcl.tables.study import Study, roles, sides, titles, words


def build(study: Study) -> tuple[pd.DataFrame, list[Table]]:
    notes = [
        "Each line is a training of its own against the method that it varies, whose own value, unless it is a whole "
        "part of the recipe, stands in the heading."
    ]
    title = f"Sweeps: variant {MINUS} method, points of accuracy"
    return contrasts.table(study, title, "Value", _pairs(study.experiment), notes)


def _pairs(experiment: Experiment) -> Iterator[Pair]:
    names, of = titles(experiment), sides(experiment)
    for method, sweep, label, recipe in experiment.variants:
        if recipe != method:
            key = experiment.sweeps[sweep].key
            heading = f"{names[method]}, {words(sweep)}: {key} {_value(experiment.methods[method], key)}".strip()
            for role in roles(experiment, method):
                yield Pair(heading, f"{label}, {role}", of[recipe, role], of[method, role])


def _value(method: Method, key: str) -> str:
    """As one would write it, in a line."""
    value = method
    for step in key.split("."):
        value = getattr(value, step)
    if isinstance(value, tuple) and len(value) == 1:  # one for every level
        value = value[0]
    return "" if isinstance(value, Part) else value if isinstance(value, str) else json.dumps(value)
