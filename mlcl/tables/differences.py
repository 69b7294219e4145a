"""Paired differences on the same episodes: within each method, from the first, and between any two."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, combinations, product

import pandas as pd

from mlcl.config import Experiment
from mlcl.tables.contrasts import NOTE, Side, contrast, judged
from mlcl.tables.layout import MINUS, Table, lay_out
from mlcl.tables.study import Study, columns, protocol, roles, titles


def build(study: Study) -> tuple[pd.DataFrame, list[Table]]:
    experiment = study.experiment
    frame = judged(_differences(study, chain(_own(experiment), _between(experiment))))
    notes = [protocol(experiment, experiment.evaluation.classifiers[0]), NOTE]
    title = "Paired differences, points of accuracy"
    table = lay_out(title, frame, columns(experiment), {"label": "Difference"}, "difference", notes, sign="+")
    return frame.drop(columns=["block", "label", "bold"]), [table]


def gains(study: Study) -> pd.DataFrame:
    """A row a method, data set and shot: the `difference` that its ensemble makes to its last level, with `ci95`."""
    return _differences(study, _own(study.experiment)).rename(columns={"label": "title"})


def _differences(study: Study, pairs: Iterable[tuple[str, str, Side, Side]]) -> pd.DataFrame:
    """A row a pair, data set and shot, in points of accuracy by the first classifier."""
    rows = []
    for (block, label, first, second), (dataset, shot) in product(pairs, columns(study.experiment)):
        row = {"block": block, "label": label, "dataset": dataset, "shot": shot}
        for side, (method, representation) in {"first": first, "second": second}.items():
            row[f"{side}_method"] = method
            row[f"{side}_representation"] = representation
            row[f"{side}_evaluations"] = study.sources[dataset, method]
        rows.append(row | contrast(study, dataset, shot, {first: 1, second: -1}))
    return pd.DataFrame(rows)


def _own(experiment: Experiment) -> Iterator[tuple[str, str, Side, Side]]:
    """Of every method: heading, label, and the sides to subtract, the second from the first."""
    sides = _sides(experiment)
    for name, title in titles(experiment).items():
        yield f"ensemble {MINUS} last level, same method", title, sides[name, "ensemble"], sides[name, "last level"]


def _between(experiment: Experiment) -> Iterator[tuple[str, str, Side, Side]]:
    """Of methods with the first, then of any two: the same."""
    names, sides = titles(experiment), _sides(experiment)
    baseline, *others = names
    for name in others:
        heading = f"ensemble {MINUS} last level of {names[baseline]}"
        yield heading, names[name], sides[name, "ensemble"], sides[baseline, "last level"]
    for role, (second, first) in product(("ensemble", "last level"), combinations(names, 2)):
        label = f"{names[first]} {MINUS} {names[second]}"
        yield f"{role} {MINUS} {role}", label, sides[first, role], sides[second, role]


def _sides(experiment: Experiment) -> dict[tuple[str, str], Side]:
    """By method and role."""
    return {
        (name, role): (name, key) for name, method in experiment.methods.items() for role, key in roles(method).items()
    }
