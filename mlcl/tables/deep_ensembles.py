"""What several encoders bring together, and whether the levels of one make up for the others."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pandas as pd

from mlcl.config import Experiment
from mlcl.tables import contrasts, factorial
from mlcl.tables.contrasts import Pair
from mlcl.tables.layout import MINUS, Table
from mlcl.tables.study import TOGETHER, Study, roles, several, sides, titles


def build(study: Study) -> tuple[pd.DataFrame, list[Table]]:
    notes = [
        f"{several(study.experiment)}: {TOGETHER}. One encoder: the mean over the seeds. There is one such ensemble, "
        "of all seeds, and so no interval over them: another may differ by more than these intervals say."
    ]
    title = f"Deep ensembles {MINUS} one encoder, points of accuracy"
    return contrasts.table(study, title, "Difference", _pairs(study.experiment), notes)


def _pairs(experiment: Experiment) -> Iterator[Pair]:
    names, of, count = titles(experiment), sides(experiment), several(experiment)
    keys = {method: ensemble for ensemble, method in experiment.ensembles.items()}
    last, *others = roles(experiment, next(iter(keys)))
    for role, method in product((last, *others), keys):
        block = f"{role}, {count} {MINUS} one, same method"
        yield Pair(block, names[method], of[keys[method], role], of[method, role])
    for role, method in product(others, keys):
        block = f"{role} of one encoder {MINUS} {last} of {count}, same method"
        yield Pair(block, names[method], of[method, role], of[keys[method], last])
    baseline, *later = keys
    for role, method in product((last, *others), later):
        block = f"{role} of one encoder {MINUS} {last} of {count}, {names[baseline]}"
        yield Pair(block, names[method], of[method, role], of[keys[baseline], last])
    for single, multi in factorial.pairs(experiment):
        block = factorial.heading(experiment, single, multi)
        for number, role in product(("one encoder", count), others):
            side = of[multi if number == "one encoder" else keys[multi], role]
            label = f"{role} of {number}, multi-level {MINUS} {last} of {count}, single-level"
            yield Pair(block, label, side, of[keys[single], last])
