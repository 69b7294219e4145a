"""What it brings to choose the levels on the validation classes, and which ones were chosen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import product, takewhile

import pandas as pd

from mlcl.config import Experiment
from mlcl.representations import spelled
from mlcl.tables import contrasts, factorial
from mlcl.tables.contrasts import Pair
from mlcl.tables.layout import MINUS, Table
from mlcl.tables.study import RULE, Study, columns, sides, titles


def build(study: Study) -> tuple[pd.DataFrame, list[Table]]:
    notes = [
        f"Chosen levels: {RULE}. Each training and number of shots chooses by itself, on as many episodes of the "
        "validation classes; the novel classes have no say in it. They are, with how many trainings chose them in "
        "brackets where these differ:",
        *given(study, study.results.chosen, partial(_spelled, study.experiment)),
    ]
    title = f"Levels chosen on the validation classes {MINUS} levels fixed beforehand, points of accuracy"
    return contrasts.table(study, title, "Difference", pairs(study.experiment, "chosen levels"), notes)


def pairs(experiment: Experiment, learnt: str) -> Iterator[Pair]:
    """What the validation classes taught, as the role `learnt` has it, against the roles before it."""
    names, of = titles(experiment), sides(experiment)
    fixed = list(takewhile(lambda role: role != learnt, dict.fromkeys(role for _, role in of)))
    for role, name in product(fixed, experiment.methods):
        yield Pair(f"{learnt} {MINUS} {role}, same method", names[name], of[name, learnt], of[name, role])
    for single, multi in factorial.pairs(experiment):
        block = factorial.heading(experiment, single, multi)
        for role in ("last level", learnt):
            label = f"{learnt} of multi-level {MINUS} {role} of single-level"
            yield Pair(block, label, of[multi, learnt], of[single, role])


def given(study: Study, learnt: Mapping, spell: Callable[[str, list], str]) -> Iterator[str]:
    """A note a method: what the validation classes gave its trainings, `learnt` as in `Results`, by `spell`."""
    evaluation, names = study.experiment.evaluation, titles(study.experiment)
    first = evaluation.processing[0], evaluation.classifiers[0]
    for name in study.experiment.methods:
        said = []
        for dataset, shot in columns(study.experiment):
            text = spell(name, [found[shot, *first] for found in learnt[dataset, name]])
            said.append(f"{text} on {dataset} {shot}-shot")
        yield f"{names[name]}: {'; '.join(said)}."


def _spelled(experiment: Experiment, name: str, chosen: list[str]) -> str:
    """Which levels, and by how many of the method's trainings."""
    runs = Counter(spelled(found, experiment.methods[name].encoder.levels) for found in chosen)
    return " or ".join(f"{text} ({count})" if len(runs) > 1 else text for text, count in runs.items())
