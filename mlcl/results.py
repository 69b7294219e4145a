"""From the evaluations of an experiment's runs to its numbers. All runs of a data set meet the same episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from mlcl import evaluations, representations, statistics
from mlcl.config import Evaluation, Experiment, Method
from mlcl.errors import UserError
from mlcl.evaluations import KEYS, PROTOCOL, Key, Run


class Cell(NamedTuple):
    """What one number is about."""

    dataset: str
    method: str
    """A key of the experiment's recipes, or of its `ensembles`."""
    shot: int
    processing: str
    classifier: str
    representation: str


class Results(NamedTuple):
    accuracies: dict[Cell, np.ndarray]
    """In percent, [seeds, episodes], of a deep ensemble [1, episodes]; the cells in the config's order."""
    evaluations: dict[tuple[str, str], list[Path]]
    """The files behind a data set and method, seed by seed."""
    chosen: dict[tuple[str, str], list[dict[Key, str]]]
    """What was chosen on the validation classes, seed by seed, as `evaluations.Found` has it."""
    weights: dict[tuple[str, str], list[dict[Key, list[float]]]]
    """The levels' weights that these classes gave, likewise."""
    models: dict[tuple[str, str], list[str | None]]
    """The checksums of the encoders, likewise."""


def read(experiment: Experiment, paths: Sequence[Path]) -> Results:
    """The accuracies of every run of the experiment, whatever the order of the files.

    Raises `UserError` where an evaluation is missing, given twice, unreadable, or not what the config asks for.
    """
    runs = _by_run(experiment, paths)
    accuracies, files, chosen, weights, models = {}, {}, {}, {}, {}
    for dataset, (method, members) in product(experiment.datasets, _members(experiment).items()):
        of_seeds = [runs.pop((dataset, *member)) for member in members]
        files[dataset, method] = [run.path for run in of_seeds]
        chosen[dataset, method] = [run.chosen for run in of_seeds]
        weights[dataset, method] = [run.weights for run in of_seeds]
        models[dataset, method] = [run.model for run in of_seeds]
        values = 100 * np.stack([run.table for run in of_seeds])
        for i, row in enumerate(of_seeds[0].table.index):
            accuracies[Cell(dataset, method, *row)] = values[:, i]
    for dataset, method in product(experiment.trained_on, experiment.recipes):
        own = files[dataset, method], models[dataset, method], models[experiment.trained_on[dataset], method]
        for path, model, trained in zip(*own, strict=True):
            if model and trained and model != trained:
                raise UserError(
                    f"{path}: is not of the encoder that was trained on {experiment.trained_on[dataset]}; run mlcl "
                    "features and mlcl evaluate again"
                )
    for dataset, (ensemble, method) in product(experiment.datasets, experiment.ensembles.items()):
        if models[dataset, ensemble] != ["+".join(model or "" for model in models[dataset, method])]:
            raise UserError(
                f"{files[dataset, ensemble][0]}: is not of the encoders that the evaluations of its seeds are of; run "
                "mlcl deep-ensemble again"
            )
    return Results(accuracies, files, chosen, weights, models)


def check(path: Path, evaluation: Evaluation, method: Method, data: dict[str, str], made_by: Mapping[str, str]) -> None:
    """Raises `UserError` where the evaluation at `path` is unreadable or not what is asked for, of other data than
    those of the identity `data`, or not `made_by` what is given of that: encoder, code."""
    found = evaluations.read(path)
    check_protocol(path, found.protocol, evaluation)
    _by_episode(path, found.rows, evaluation, method)
    if found.data is not None and found.data != data:
        raise UserError(f"{path}: is of other data than what is there")
    for key, value in made_by.items():
        if found.made_by.get(key) != value:
            what = "encoder" if key == "model" else f"code ({key})"
            other = f"is of another {what} than what is there" if key in found.made_by else f"names no {what}"
            raise UserError(f"{path}: {other}")


def summarize(accuracies: dict[Cell, np.ndarray]) -> pd.DataFrame:
    """A row a cell: its names, seeds, episodes, and the `statistics.Summary` of its accuracy in percent."""
    rows = [
        cell._asdict()
        | {"seeds": values.shape[0], "episodes": values.shape[1]}
        | statistics.summarize(values)._asdict()
        for cell, values in accuracies.items()
    ]
    return pd.DataFrame(rows).rename(columns={"half_width": "ci95", "half_width_over_seeds": "ci95_over_seeds"})


class _One(NamedTuple):
    """What is read of one run."""

    path: Path
    table: pd.DataFrame
    """As `_by_episode` gives it."""
    chosen: dict[Key, str]
    weights: dict[Key, list[float]]
    model: str | None


def _by_run(experiment: Experiment, paths: Sequence[Path]) -> dict[Run, _One]:
    """Every run of the experiment and no other."""
    members = chain.from_iterable(_members(experiment).values())
    wanted = [(dataset, *member) for dataset, member in product(experiment.datasets, members)]
    found: dict[Run, _One] = {}
    data: dict[str, tuple[Path, dict[str, str]]] = {}
    for path in sorted(map(Path, paths)):
        run, frame, protocol, made_of, made_by, chosen, weights = evaluations.read(path)
        if run in found:
            raise UserError(f"{path}: is of {_name(run)}, as {found[run].path} is; give one of them")
        if run not in wanted:
            raise UserError(f"{path}: is of {_name(run)}, no run of experiment {experiment.name}; leave it out")
        check_protocol(path, protocol, experiment.evaluation)
        if made_of is not None and data.setdefault(run[0], (path, made_of))[1] != made_of:
            raise UserError(f"{path}: is of other data than {data[run[0]][0]}; run mlcl evaluate for both again")
        # At once, file by file: the accuracies alone take an eighth of the frame's memory.
        table = _by_episode(path, frame, experiment.evaluation, experiment.recipes[run[1]])
        found[run] = _One(path, table, chosen, weights, made_by.get("model"))
    for run in wanted:
        if run not in found:
            raise UserError(f"no evaluation of {_name(run)} among those given; run mlcl evaluate first")
    return found


def _members(experiment: Experiment) -> dict[str, list[tuple[str, int | str]]]:
    """Method and seed of all evaluations on a data set, by the key that a cell has for the method."""
    runs = {recipe: [(recipe, seed) for seed in experiment.seeds] for recipe in experiment.recipes}
    return runs | {ensemble: [tuple(ensemble.split("/"))] for ensemble in experiment.ensembles}


def _name(run: Run) -> str:
    return "/".join(map(str, run))


def check_protocol(path: Path, protocol: dict, asked: Evaluation) -> None:
    for key in PROTOCOL:
        if protocol[key] != getattr(asked, key):
            raise UserError(
                f"{path}: was evaluated with {key} {protocol[key]}, where the config asks for {getattr(asked, key)}; "
                "run mlcl evaluate again"
            )


def _by_episode(path: Path, frame: pd.DataFrame, evaluation: Evaluation, method: Method) -> pd.DataFrame:
    """One run's accuracies: a row per shot, processing, classifier and representation, a column an episode."""
    if set(frame["episode"]) != set(range(evaluation.episodes)):
        raise UserError(
            f"{path}: holds {frame['episode'].nunique()} episodes, where the config asks for those from 0 to "
            f"{evaluation.episodes - 1}; run mlcl evaluate again"
        )
    solved_by = representations.names(method.encoder.levels, evaluation.subsets, evaluation.choose, evaluation.weigh)
    rows = product(evaluation.shots, evaluation.processing, evaluation.classifiers, solved_by)
    wanted = pd.MultiIndex.from_tuples(rows, names=KEYS)
    table = frame.pivot(index=KEYS, columns="episode", values="accuracy").reindex(wanted).astype(float)
    right = ((table >= 0) & (table <= 1)).all(axis=1)
    if not right.all():
        row = ", ".join(f"{key} {value}" for key, value in zip(KEYS, right.idxmin(), strict=True))
        raise UserError(f"{path}: lacks accuracies from 0 to 1 for {row}; run mlcl evaluate again")
    return table
