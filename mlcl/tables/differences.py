"""Paired differences on the same episodes: within each method, from the first, and between any two."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, combinations, product

import pandas as pd

from mlcl.config import Experiment
from mlcl.statistics import summarize
from mlcl.tables import contrasts
from mlcl.tables.contrasts import Pair
from mlcl.tables.layout import MINUS, Table
from mlcl.tables.study import Study, columns, sides, titles


def build(study: Study) -> tuple[pd.DataFrame, list[Table]]:
    pairs = chain(_own(study.experiment), from_first(study.experiment, "ensemble"), _between(study.experiment))
    return contrasts.table(study, "Paired differences, points of accuracy", "Difference", pairs)


def gains(study: Study) -> pd.DataFrame:
    """A row a role but the last level, method, data set and shot: the `difference` from its last level, with `ci95`,
    and, `by_seed`, each training's."""
    rows = []
    others = [role for role in dict.fromkeys(role for _, role in sides(study.experiment)) if role != "last level"]
    for role in others:
        for pair, (dataset, shot) in product(_own(study.experiment, role), columns(study.experiment)):
            values = contrasts.weighted(study, dataset, shot, {pair.first: 1, pair.second: -1})
            found = summarize(values)
            row = {"role": role, "title": pair.label, "dataset": dataset, "shot": shot}
            rows.append(row | {"difference": found.mean, "ci95": found.half_width, "by_seed": found.by_seed})
    return pd.DataFrame(rows)


def _own(experiment: Experiment, role: str = "ensemble") -> Iterator[Pair]:
    """Of every method's `role` with its last level."""
    names, of = titles(experiment), sides(experiment)
    for name in experiment.methods:
        heading = f"{role} {MINUS} last level, same method"
        yield Pair(heading, names[name], of[name, role], of[name, "last level"])


def from_first(experiment: Experiment, role: str) -> Iterator[Pair]:
    """Of every other method's `role` with the first one's last level."""
    names, of = titles(experiment), sides(experiment)
    baseline, *others = experiment.methods
    for name in others:
        heading = f"{role} {MINUS} last level of {names[baseline]}"
        yield Pair(heading, names[name], of[name, role], of[baseline, "last level"])


def _between(experiment: Experiment) -> Iterator[Pair]:
    """Of any two methods: the same."""
    names, of = titles(experiment), sides(experiment)
    for role, (second, first) in product(("ensemble", "last level"), combinations(experiment.methods, 2)):
        label = f"{names[first]} {MINUS} {names[second]}"
        yield Pair(f"{role} {MINUS} {role}", label, of[first, role], of[second, role])
