"""An experiment from data to evaluations in one process, run after run, for a machine that is lent for a short while.

It makes the files that the workflow makes, at the same places, without a job's imports, Snakemake, or waiting for a
second GPU. What is there already is kept, so that it goes on where it, or the workflow, was stopped.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mlcl import (
    config,
    deep_ensembles,
    encoders,
    episodes,
    evaluations,
    extract,
    features,
    hardware,
    record,
    results,
)
from mlcl.data import definition, sources
from mlcl.data.pack import pack, sizes
from mlcl.data.packed import Packed
from mlcl.errors import UserError
from mlcl.evaluate import CODE as EVALUATION_CODE
from mlcl.evaluate import evaluate
from mlcl.files import sha256
from mlcl.paths import Files
from mlcl.train import CODE as TRAINING_CODE
from mlcl.train import train


def run(experiment: config.Experiment, root: Path, max_minutes: float) -> None:
    """Pack, train, extract and evaluate what is missing below root/data and root/results, the first seed first, the
    deep ensembles last.

    An evaluation that is not what the config asks for is made again; a run that has its record and its evaluation but
    no model is left as it is. Raises `UserError` after `max_minutes`, everything done so far kept and a trained model
    evaluated first, and where what is there was trained by another recipe or on other data, or, without its model,
    evaluated otherwise.
    """
    deadline = time.monotonic() + 60 * max_minutes
    files = Files(root, experiment.name)
    packed = {name: _pack(experiment, name, files, deadline) for name in experiment.datasets}
    episodes.check_novel(experiment, packed)
    # As in the workflow: where `auto` finds no GPU, one process.
    shared = experiment.device != "auto" or torch.cuda.is_available()
    devices = hardware.devices(experiment.device, experiment.gpus if shared else 1)
    session = _Session(experiment, files, packed, devices, deadline)
    datasets = sorted(experiment.datasets, key=experiment.trained_on.__contains__)  # those with trainings first
    for seed, dataset, method in product(experiment.seeds, datasets, experiment.recipes):
        _Run(session, dataset, method, seed).complete()
    for dataset, (ensemble, method) in product(experiment.datasets, experiment.ensembles.items()):
        members = [_Run(session, dataset, method, seed) for seed in experiment.seeds]
        _complete_ensemble(f"{dataset}/{ensemble}", members)


def _pack(experiment: config.Experiment, name: str, files: Files, deadline: float) -> Packed:
    """A data set packed, now if it is not yet; that its tasks can be drawn is checked in any case."""
    dataset, folder = experiment.datasets[name], files.manifest(name).parent
    if manifest := definition.check(folder, definition.of(dataset)):
        episodes.check_tasks(experiment, name, manifest["splits"])
    else:
        with Stage(f"data {name}", deadline):
            source = sources.open_source(dataset, files.root)
            episodes.check_tasks(experiment, name, sizes(source))
            pack(source, folder)
    return Packed(folder)


class _Session(NamedTuple):
    """What the runs of an experiment share."""

    experiment: config.Experiment
    files: Files
    packed: dict[str, Packed]
    devices: list[torch.device]
    deadline: float


class _Run:
    """DATASET/METHOD/SEED: what it has, and what completes it."""

    def __init__(self, session: _Session, dataset: str, method: str, seed: int):
        self.session, self.key, self.name = session, (dataset, method, seed), f"{dataset}/{method}/{seed}"
        self.recipe, self.data = session.experiment.recipes[method], session.packed[dataset]
        self.encoder = session.experiment.encoder_of(self.name)
        self.model, self.evaluation = session.files.model(self.encoder), session.files.evaluation(self.name)
        self.features = session.files.features(self.name, session.experiment.evaluation.split).parent

    def complete(self) -> None:
        """Train, extract and evaluate what is missing."""
        experiment, files, until = self.session.experiment, self.session.files, self.session.deadline
        trained_on = self.session.packed[self.encoder.partition("/")[0]]
        known = files.records(self.encoder) / "run.json"
        taught_by = experiment.teacher(self.encoder)
        teacher = files.model(taught_by) if taught_by else None
        if self.model.exists():
            made_by = encoders.load_made_by(self.model)
            self._check(made_by, self.model, trained_on, teacher)
            if made_by.get("code") != TRAINING_CODE and self.encoder == self.name:
                print(
                    f"{self.model}: was trained by other code than what is here, and is kept; to train it anew: "
                    f"{files.removal(self.encoder)}",
                    file=sys.stderr,
                    flush=True,
                )
        elif known.exists() and self.evaluation.exists():  # as git brings them; another model would have other numbers
            of = record.read(known)
            self._check(of["made_by"], known, trained_on, teacher)
            own = {"model": of["model"]} if "model" in of else {}  # older records name none
            results.check(self.evaluation, experiment.evaluation, self.recipe, self.data.identity, own)
            print(f"{self.name}: is evaluated, which is kept", file=sys.stderr, flush=True)
            return
        elif self.encoder != self.name:
            raise UserError(
                f"{self.model}: is missing, whose encoder {self.name} is solved by; delete {known} to train it again"
            )
        else:
            self._train(teacher)
            until = math.inf  # what is left of this run takes seconds, and elsewhere the model may not be at hand
        self._evaluate(until)

    def _check(self, made_by: dict[str, Any], path: Path, data: Packed, teacher: Path | None) -> None:
        """Raise `UserError` where what is at `path` is not of the config's recipe and data."""
        try:
            record.check(made_by, self.recipe, path, data, teacher)
        except UserError as error:
            remedy = self.session.files.removal(self.encoder)
            raise UserError(f"{error}; what is of this run goes by: {remedy}") from error

    def _train(self, teacher: Path | None) -> None:
        files = self.session.files
        with Stage(f"train {self.name}", self.session.deadline) as minutes:
            for path in (*self.features.glob("*.npy"), files.choices(self.name), self.evaluation):  # of another model
                path.unlink(missing_ok=True)
            train(
                self.data.folder, self.recipe, self.key[2], self.session.devices, self.model.parent,
                files.records(self.name), files.scratch(self.name), minutes, teacher,
            )  # fmt: skip

    def _evaluate(self, until: float) -> None:
        """Extract the features that are missing, and solve the episodes if they are not solved as asked."""
        spec, choices = self.session.experiment.evaluation, self.session.files.choices(self.name)
        made_by = self.made_by()
        solved = self.is_solved(self.evaluation, made_by | {"evaluate": EVALUATION_CODE})
        solved = solved and (choices.exists() or not spec.choose)
        self.extract(made_by, not solved, until)
        if not solved:
            with Stage(f"evaluate {self.name}", until):
                evaluate(
                    self.data.folder, self.features, spec, self.key, self.session.devices[0], self.evaluation, choices,
                    os.cpu_count() or 1,
                )  # fmt: skip

    def made_by(self) -> dict[str, str]:
        """What the features have to be of."""
        return {"model": sha256(self.model), "extract": extract.CODE}

    def is_solved(self, path: Path, made_by: Mapping[str, str]) -> bool:
        """Whether there is an evaluation (of this run or an ensemble with it) as asked; another stays until then."""
        if not path.exists():
            return False
        try:
            results.check(path, self.session.experiment.evaluation, self.recipe, self.data.identity, made_by)
        except UserError as error:
            print(f"{error}: evaluated again", file=sys.stderr, flush=True)
            return False
        return True

    def extract(self, made_by: Mapping[str, str], to_solve: bool, until: float) -> None:
        """Extract the features that are missing of those `made_by` this encoder and code; where episodes are about to
        be solved by them, in the precision that the config has, and the support images' copies with them."""
        spec, files, device = self.session.experiment.evaluation, self.session.files, self.session.devices[0]
        if to_solve:
            made_by = {**made_by, "precision": hardware.precision(device, self.recipe.training.precision)}
        splits = {files.features(self.name, split): features.origin(self.data, split) for split in spec.splits}
        if not all([_extracted(path, of, made_by) for path, of in splits.items()]):
            with Stage(f"features {self.name}", until):
                extract.extract(self.data.folder, self.model, device, self.features, spec.splits)
        copies, drawn = files.features(self.name, "copies"), (spec.split, spec.support_copies, spec.seed)
        if to_solve and spec.support_copies and not _extracted(copies, features.origin(self.data, *drawn), made_by):
            with Stage(f"copies {self.name}", until):
                extract.extract_copies(self.data.folder, self.model, *drawn, device, copies)


def _complete_ensemble(name: str, members: list[_Run]) -> None:
    """Evaluate a method's encoders of all seeds together, if they are not yet."""
    session, first = members[0].session, members[0]
    spec, evaluation = session.experiment.evaluation, session.files.evaluation(name)
    evaluated = [member.evaluation for member in members]
    _, made_by = deep_ensembles.identity([evaluations.read(path) for path in evaluated])
    at_hand = all(member.model.exists() for member in members)
    if evaluation.exists() and not at_hand:  # as git brings them
        results.check(evaluation, spec, first.recipe, first.data.identity, {"model": made_by["model"]})
    elif not first.is_solved(evaluation, made_by):
        if spec.support_copies and at_hand:  # copies go first to save room
            for member in members:
                member.extract(member.made_by(), True, session.deadline)
        with Stage(f"evaluate {name}", session.deadline):
            deep_ensembles.evaluate(
                first.data.folder, [member.features for member in members], evaluated, spec, session.devices[0],
                evaluation, os.cpu_count() or 1,
            )  # fmt: skip


def _extracted(path: Path, of: Mapping[str, Any], made_by: Mapping[str, str]) -> bool:
    """Whether there are features of these images, made by that encoder and code."""
    if not path.exists():
        return False
    try:
        return made_by.items() <= features.load(path, of).made_by.items()
    except UserError as error:
        print(f"{error}: made again", file=sys.stderr, flush=True)
        return False


class Stage:
    """Says how long a stage took; raises `UserError` where no time is left to begin it. Gives the minutes left."""

    def __init__(self, name: str, deadline: float):
        self.name, self.deadline = name, deadline

    def __enter__(self) -> float:
        self.start = time.monotonic()
        if self.start > self.deadline:
            raise UserError(f"time is up before {self.name}; run again to continue")
        return (self.deadline - self.start) / 60

    def __exit__(self, error: type[BaseException] | None, *_) -> None:
        if error is None:
            print(f"{self.name}: {time.monotonic() - self.start:.1f} s", file=sys.stderr, flush=True)
