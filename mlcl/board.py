"""An experiment for TensorBoard: every run's recipe with what came of it, and unseen features to walk around in."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from mlcl.config import Experiment
from mlcl.errors import UserError
from mlcl.figures.unseen import Unseen, read, rng, unit
from mlcl.results import Cell, Results
from mlcl.results import read as read_results
from mlcl.tables.study import roles, titles

IMAGES = 500  # of the projector
PROJECTOR = ("metadata.tsv", "projector_config.pbtxt", "sprite.png", "tensors.tsv")  # its files


def write(experiment: Experiment, evaluations: Sequence[Path], data: Path, features: Path, out: Path) -> None:
    """Write `out`, a folder of TensorBoard events, anew: hyperparameters of every run of the experiment with its
    accuracies in percent, and the last level of `features`, those of one method on `data`, in its projector.

    Raises `UserError` as `results.read` and `figures.unseen.read` do, and where `out` holds what it did not write.
    """
    results, unseen = read_results(experiment, evaluations), read(data, [features], titles(experiment))
    if strange := [path for path in out.rglob("*") if path.is_file() and not _own(path)]:
        raise UserError(f"{out}: is to be written anew, but holds {strange[0].name}; name a folder of its own")
    shutil.rmtree(out, ignore_errors=True)  # TensorBoard would add what it finds there
    with SummaryWriter(out) as writer:
        for dataset, method, (place, seed) in product(
            experiment.datasets, experiment.recipes, enumerate(experiment.seeds)
        ):
            recipe = dict(_flat(experiment.recipes[method].model_dump(mode="json", exclude={"title"})))
            names = {"dataset": dataset, "method": method, "seed": seed}
            found = _accuracies(experiment, results, dataset, method, place)
            writer.add_hparams(names | recipe, found, run_name=f"{dataset}/{method}/{seed}")
        _project(writer, unseen, f"{data.name}-{features.parts[-3]}")


def _own(path: Path) -> bool:
    """Whether a file is one of those that TensorBoard's writer makes."""
    return path.name.startswith("events.out.tfevents.") or path.name in PROJECTOR


def _flat(values: dict[str, Any], path: str = "") -> Iterator[tuple[str, float | str | bool]]:
    """Key by key, with dotted names; what is no number or word is JSON."""
    for key, value in values.items():
        if isinstance(value, dict) and key not in ("levels", "deep_supervision"):
            yield from _flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value if isinstance(value, str | float | int) else json.dumps(value)


def _accuracies(experiment: Experiment, results: Results, dataset: str, method: str, place: int) -> dict[str, float]:
    """The mean accuracies of the `place`-th seed's run, by shot and role."""
    first = experiment.evaluation.processing[0], experiment.evaluation.classifiers[0]
    return {
        f"{shot}-shot/{role}": float(results.accuracies[Cell(dataset, method, shot, *first, key)][place].mean())
        for shot in experiment.evaluation.shots
        for role, key in roles(experiment, method).items()
    }


def _project(writer: SummaryWriter, unseen: Unseen, name: str) -> None:
    (features,) = unseen.features.values()
    count = len(unseen.split.labels)
    rows = np.sort(rng("projector").permutation(count)[:IMAGES])
    images = torch.from_numpy(unseen.split.images[rows]).permute(0, 3, 1, 2) / 255
    writer.add_embedding(
        torch.from_numpy(unit(features.levels[-1][rows])),
        metadata=[unseen.split.classes[label] for label in unseen.split.labels[rows]],
        label_img=images.expand(-1, 3, -1, -1),
        tag=name,
    )
