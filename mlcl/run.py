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
from typing import Any

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
from mlcl.evaluate import CODE, evaluate
from mlcl.files import sha256
from mlcl.paths import Files
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
    files, spec = Files(root, experiment.name), experiment.evaluation
    packed = {}
    for name, dataset in experiment.datasets.items():
        folder = files.manifest(name).parent
        if manifest := definition.check(folder, definition.of(dataset)):
            episodes.check_tasks(experiment, name, manifest["splits"])
        else:
            with Stage(f"data {name}", deadline):
                source = sources.open_source(dataset, root)
                episodes.check_tasks(experiment, name, sizes(source))
                pack(source, folder)
        packed[name] = Packed(folder)
    # As in the workflow: where `auto` finds no GPU, one process.
    shared = experiment.device != "auto" or torch.cuda.is_available()
    devices = hardware.devices(experiment.device, experiment.gpus if shared else 1)
    datasets = sorted(experiment.datasets, key=experiment.trained_on.__contains__)  # those with trainings first
    for seed, dataset, method in product(experiment.seeds, datasets, experiment.recipes):
        until = deadline
        name, data = f"{dataset}/{method}/{seed}", packed[dataset]
        encoder = experiment.encoder_of(name)
        trained_on = packed[encoder.partition("/")[0]]
        model, evaluation = files.model(encoder), files.evaluation(name)
        folder = files.features(name, spec.split).parent
        known, taught_by = files.records(encoder) / "run.json", experiment.teacher(encoder)
        teacher = files.model(taught_by) if taught_by else None
        if model.exists():
            record.check(encoders.load_made_by(model), experiment.recipes[method], model, trained_on, teacher)
        elif known.exists() and evaluation.exists():  # as git brings them; another model would have other numbers
            of = record.read(known)
            record.check(of["made_by"], experiment.recipes[method], known, trained_on, teacher)
            own = {"model": of["model"]} if "model" in of else {}  # older records name none
            results.check(evaluation, spec, experiment.recipes[method], data.identity, own)
            print(f"{name}: is evaluated, which is kept", file=sys.stderr, flush=True)
            continue
        elif encoder != name:
            raise UserError(f"{model}: is missing, whose encoder {name} is solved by; delete {known} to train it again")
        else:
            with Stage(f"train {name}", deadline) as minutes:
                for path in (*folder.glob("*.npy"), files.choices(name), evaluation):  # of another model
                    path.unlink(missing_ok=True)
                records, scratch = files.records(name), files.scratch(name)
                train(
                    data.folder, experiment.recipes[method], seed, devices, model.parent, records, scratch, minutes,
                    teacher,
                )  # fmt: skip
            until = math.inf  # what is left of this run takes seconds, and elsewhere the model may not be at hand
        made_by = {"model": sha256(model), "extract": extract.CODE}
        solved_by = made_by | {"evaluate": CODE}
        evaluated = _evaluated(evaluation, spec, experiment.recipes[method], data, solved_by) and (
            files.choices(name).exists() or not spec.choose
        )
        if not evaluated:
            precision = experiment.recipes[method].training.precision
            made_by["precision"] = hardware.precision(devices[0], precision)
        _represent(name, files, model, data, spec, devices[0], made_by, until)
        if not evaluated:
            with Stage(f"evaluate {name}", until):
                evaluate(
                    data.folder, folder, spec, (dataset, method, seed), devices[0], evaluation,
                    files.choices(name), os.cpu_count() or 1,
                )  # fmt: skip
    for dataset, (ensemble, method) in product(experiment.datasets, experiment.ensembles.items()):
        name, data, recipe = f"{dataset}/{ensemble}", packed[dataset], experiment.recipes[method]
        seeds = [f"{dataset}/{method}/{seed}" for seed in experiment.seeds]
        members, evaluation = [files.evaluation(seed) for seed in seeds], files.evaluation(name)
        _, solved_by = deep_ensembles.identity([evaluations.read(member) for member in members])
        models = [files.model(experiment.encoder_of(seed)) for seed in seeds]
        if evaluation.exists() and not all(model.exists() for model in models):  # as git brings them
            results.check(evaluation, spec, recipe, data.identity, {"model": solved_by["model"]})
        elif not _evaluated(evaluation, spec, recipe, data, solved_by):
            if spec.support_copies and all(model.exists() for model in models):  # copies go first to save room
                precision = hardware.precision(devices[0], recipe.training.precision)
                for seed, model in zip(seeds, models, strict=True):
                    made_by = {"model": sha256(model), "extract": extract.CODE, "precision": precision}
                    _represent(seed, files, model, data, spec, devices[0], made_by, deadline)
            with Stage(f"evaluate {name}", deadline):
                folders = [files.features(seed, spec.split).parent for seed in seeds]
                deep_ensembles.evaluate(
                    data.folder, folders, members, spec, devices[0], evaluation, os.cpu_count() or 1
                )


def _represent(
    name: str,
    files: Files,
    model: Path,
    data: Packed,
    spec: config.Evaluation,
    device: torch.device,
    made_by: Mapping[str, str],
    until: float,
) -> None:
    """Extract the features that a run lacks of those `made_by` this encoder and code; where that names a precision too,
    in which episodes are about to be solved, the support images' copies with them."""
    wanted = {files.features(name, split): features.origin(data, split) for split in spec.splits}
    if not all([_extracted(path, of, made_by) for path, of in wanted.items()]):
        with Stage(f"features {name}", until):
            extract.extract(data.folder, model, device, files.features(name, spec.split).parent, spec.splits)
    copies, of = files.features(name, "copies"), features.origin(data, spec.split, spec.support_copies, spec.seed)
    if "precision" in made_by and spec.support_copies and not _extracted(copies, of, made_by):
        with Stage(f"copies {name}", until):
            extract.extract_copies(data.folder, model, spec.split, spec.support_copies, spec.seed, device, copies)


def _extracted(path: Path, of: Mapping[str, Any], made_by: Mapping[str, str]) -> bool:
    """Whether there are features of these images, made by that encoder and code."""
    if not path.exists():
        return False
    try:
        return made_by.items() <= features.load(path, of).made_by.items()
    except UserError as error:
        print(f"{error}: made again", file=sys.stderr, flush=True)
        return False


def _evaluated(
    path: Path, spec: config.Evaluation, method: config.Method, data: Packed, made_by: Mapping[str, str]
) -> bool:
    """Whether there is an evaluation, and it is what is asked for; another stays until its like is made."""
    if not path.exists():
        return False
    try:
        results.check(path, spec, method, data.identity, made_by)
    except UserError as error:
        print(f"{error}: evaluated again", file=sys.stderr, flush=True)
        return False
    return True


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
