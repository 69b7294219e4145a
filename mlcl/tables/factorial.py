"""The 2 x 2 of training and representation: {single-level, multi-level} x {last level, ensemble}.

A pair of methods spans it where their recipes differ in nothing but the levels that get the contrastive loss, one has
the last level alone, the other several; and in branches, which the earlier of these may have: with the last level alone
there is nothing to train in them.
"""

from __future__ import annotations

from itertools import product

import pandas as pd

from mlcl.config import Experiment, Method
from mlcl.tables.contrasts import contrast, judged
from mlcl.tables.layout import MINUS, Table
from mlcl.tables.study import Side, Study, columns, sides, titles


def build(study: Study) -> tuple[pd.DataFrame, list[Table]]:
    experiment, evaluation = study.experiment, study.experiment.evaluation
    rows = []
    for single, multi in pairs(experiment):
        block = heading(experiment, single, multi)
        for (label, weights), (dataset, shot) in product(_effects(experiment, single, multi), columns(experiment)):
            row = {"block": block, "single": single, "multi": multi, "effect": label, "dataset": dataset, "shot": shot}
            row |= {"processing": evaluation.processing[0], "classifier": evaluation.classifiers[0]}
            sources = {"evaluations": study.sources[dataset, single] + study.sources[dataset, multi]}
            rows.append(row | contrast(study, dataset, shot, weights) | sources)
    if not rows:
        note = f"No two methods of this experiment differ in nothing but {LEVELS}."
        return pd.DataFrame(columns=["single", "multi", "effect"]), [
            Table(TITLE, ["Effect"], columns(experiment), {}, [note])
        ]
    note = "The last row: how much more the ensemble gains after multi-level training than after single-level training."
    frame, tables = judged(study, TITLE, {"effect": "Effect"}, pd.DataFrame(rows), [note])
    return frame.drop(columns="block"), tables


TITLE = "Training x representation, points of accuracy"
LEVELS = "the levels that get the contrastive loss"
# The effects, as the table and the CSV name them.
TRAINING_LAST = f"multi-level {MINUS} single-level training, last level"
TRAINING_ENSEMBLE = f"multi-level {MINUS} single-level training, ensemble"
ENSEMBLE_SINGLE = f"ensemble {MINUS} last level, single-level training"
ENSEMBLE_MULTI = f"ensemble {MINUS} last level, multi-level training"
WHOLE = f"ensemble of multi-level {MINUS} last level of single-level"
INTERACTION = "interaction"


def pairs(experiment: Experiment) -> list[tuple[str, str]]:
    """(single-level, multi-level) methods that differ in their levels, and the branches to these, alone."""
    single = {name: method for name, method in experiment.methods.items() if _levels(method) == {_last(method)}}
    multi = {name: method for name, method in experiment.methods.items() if len(_levels(method)) > 1}
    return [(one, more) for one, more in product(single, multi) if _rest(single[one]) == _rest(multi[more])]


def changed(experiment: Experiment, single: str, multi: str) -> str:
    """In what a pair differs, in words."""
    one, more = (experiment.methods[name] for name in (single, multi))
    last, weight = _last(one), one.objective.levels[_last(one)]
    also = ["the branches of the earlier ones"] if one.encoder.branches != more.encoder.branches else []
    also += ["the weight of the last one"] if more.objective.levels.get(last, weight) != weight else []
    return LEVELS + (f", and in {' and '.join(also)}" if also else "")


def heading(experiment: Experiment, single: str, multi: str) -> str:
    """A pair as a table has it above its differences."""
    names = titles(experiment)
    return f"single-level: {names[single]}; multi-level: {names[multi]}"


def _levels(method: Method) -> set[int]:
    return {*method.objective.levels, *method.objective.deep_supervision}


def _last(method: Method) -> int:
    return method.encoder.levels[-1]


def _rest(method: Method) -> dict:
    return method.model_dump(exclude={"title": True, "objective": {"levels"}, "encoder": {"branches"}})


def _effects(experiment: Experiment, single: str, multi: str) -> list[tuple[str, dict[Side, float]]]:
    """Each effect of the 2 x 2 and the weights of its corners."""
    of = sides(experiment)
    s_last, s_all, m_last, m_all = (of[name, role] for name in (single, multi) for role in ("last level", "ensemble"))
    return [
        (TRAINING_LAST, {s_last: -1, m_last: 1}),
        (TRAINING_ENSEMBLE, {s_all: -1, m_all: 1}),
        (ENSEMBLE_SINGLE, {s_last: -1, s_all: 1}),
        (ENSEMBLE_MULTI, {m_last: -1, m_all: 1}),
        (WHOLE, {s_last: -1, m_all: 1}),
        (INTERACTION, {s_last: 1, s_all: -1, m_last: -1, m_all: 1}),
    ]
