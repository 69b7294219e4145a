"""Paired differences on the same episodes: within each method, from the first, and between any two."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, product

import pandas as pd

from mlcl.config import Experiment
from mlcl.tables.contrasts import NOTE, Side, contrast, judged
from mlcl.tables.layout import MINUS, Table, lay_out
from mlcl.tables.study import Study, columns, protocol, roles, titles


def build(study: Study) -> tuple[pd.DataFrame, list[Table]]:
    experiment = study.experiment
    rows = []
    for (block, label, first, second), (dataset, shot) in product(_pairs(experiment), columns(experiment)):
        row = {"block": block, "label": label, "dataset": dataset, "shot": shot}
        for side, (method, representation) in {"first": first, "second": second}.items():
            row[f"{side}_method"] = method
            row[f"{side}_representation"] = representation
            row[f"{side}_evaluations"] = study.sources[dataset, method]
        rows.append(row | contrast(study, dataset, shot, {first: 1, second: -1}))
    frame = judged(pd.DataFrame(rows))
    notes = [protocol(experiment, experiment.evaluation.classifiers[0]), NOTE]
    title = "Paired differences, points of accuracy"
    table = lay_out(title, frame, columns(experiment), {"label": "Difference"}, "difference", notes, sign="+")
    return frame.drop(columns=["block", "label", "bold"]), [table]


def _pairs(experiment: Experiment) -> Iterator[tuple[str, str, Side, Side]]:
    """Heading, label, and the sides to subtract, the second from the first."""
    names = titles(experiment)
    sides = {
        (name, role): (name, key) for name, method in experiment.methods.items() for role, key in roles(method).items()
    }
    baseline, *others = names
    for name in names:
        heading = f"ensemble {MINUS} last level, same method"
        yield heading, names[name], sides[name, "ensemble"], sides[name, "last level"]
    for name in others:
        heading = f"ensemble {MINUS} last level of {names[baseline]}"
        yield heading, names[name], sides[name, "ensemble"], sides[baseline, "last level"]
    for role, (second, first) in product(("ensemble", "last level"), combinations(names, 2)):
        label = f"{names[first]} {MINUS} {names[second]}"
        yield f"{role} {MINUS} {role}", label, sides[first, role], sides[second, role]
