"""Encoders of one method, one a seed, that solve tasks together: a deep ensemble (Lakshminarayanan et al. 2017).

It costs as many trainings as it has encoders. The paper's ensemble spans the levels of one encoder instead, and is
worth having where it comes near this one. By each representation the class probabilities that the encoders give are
averaged; chosen levels and weights are every encoder's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import pandas as pd
import torch

from mlcl import config, evaluations, features, results, solve
from mlcl.data.packed import Packed
from mlcl.errors import UserError
from mlcl.evaluate import asked, classifiers, frames, make_tasks, progress
from mlcl.fingerprint import fingerprint

CODE = fingerprint("deep_ensembles")  # now, as in extract.py


def evaluate(
    data: Path,
    folders: Sequence[Path],
    members: Sequence[Path],
    spec: config.Evaluation,
    device: torch.device,
    out: Path,
    threads: int = 1,
) -> None:
    """Write the file of `evaluations.write` for the encoders of the evaluations `members` together.

    Each of `folders` has the features of one of them, as `evaluate.evaluate` read them. The episodes are those that the
    members met, so that differences to them are paired. Raises `UserError` where the members are not runs of one
    method, were not evaluated as `spec` has it, or are not those of the features.
    """
    found = [evaluations.read(path) for path in members]
    _check(folders, members, found, spec)
    run, made_by = identity(found)
    packed, tables = Packed(data), []
    with progress(spec, run) as bar:
        for tasks in zip(*(make_tasks(packed, folder, spec, device) for folder in folders), strict=True):
            shot, processing, *_, episodes = tasks[0]
            keys = {name: (shot, processing, name) for name in spec.classifiers}
            encoders = [
                solve.Member(
                    task.bank,
                    task.support,
                    {name: one.weights[key] for name, key in keys.items()} if spec.weigh else None,
                    {name: one.chosen[key] for name, key in keys.items()} if spec.choose else None,
                )
                for task, one in zip(tasks, found, strict=True)
            ]
            solved = solve.together(encoders, episodes, classifiers(spec), threads, bar.advance, spec.solves_subsets)
            tables += frames(shot, processing, solved)
    rows, levels = pd.concat(tables, ignore_index=True), range(1, len(tasks[0].bank.dims) + 1)
    evaluations.write(out, run, asked(rows, spec, levels), spec, packed.identity, made_by)


def identity(members: Sequence[evaluations.Found]) -> tuple[evaluations.Run, dict[str, str]]:
    """The run and the `made_by` of the ensemble of these members, in their order."""
    dataset, method, _ = members[0].run
    seeds = "+".join(str(member.run[2]) for member in members)
    models = "+".join(member.made_by.get("model", "") for member in members)
    shared = {
        key: "+".join(dict.fromkeys(one.made_by.get(key, "") for one in members)) for key in ("extract", "precision")
    }
    return (dataset, method, seeds), {"model": models, **shared, "evaluate": CODE}


def _check(
    folders: Sequence[Path], members: Sequence[Path], found: Sequence[evaluations.Found], spec: config.Evaluation
) -> None:
    if len(folders) != len(members):
        raise UserError(f"{len(folders)} folders of features for {len(members)} evaluations; give one for each")
    seen: set[evaluations.Run] = set()
    wanted = set(product(spec.shots, spec.processing, spec.classifiers))
    for folder, path, one in zip(folders, members, found, strict=True):
        if one.run[:2] != found[0].run[:2] or one.run in seen:
            raise UserError(f"{path}: is no run of another seed of the method of {members[0]}; give one a seed")
        seen.add(one.run)
        results.check_protocol(path, one.protocol, spec)
        for key, learnt in {"choose": one.chosen, "weigh": one.weights}.items():
            if getattr(spec, key) and not learnt.keys() >= wanted:
                raise UserError(f"{path}: was evaluated without {key}, or in part; run mlcl evaluate again")
        file = folder / f"{spec.split}.npy"
        if features.load(file).made_by.get("model") != one.made_by.get("model"):
            raise UserError(f"{file}: is not of the encoder of {path}; make both again")
