"""From the evaluations of an experiment's runs to its numbers.

An evaluation is a parquet file in long form: one run (data set, method, seed), one row per shot, classifier,
representation and episode, the accuracy as a fraction. All runs of a data set meet the same episodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet

from mlcl import statistics
from mlcl.config import Experiment, Method
from mlcl.errors import UserError

COLUMNS = ["dataset", "method", "seed", "shot", "classifier", "representation", "episode", "accuracy"]
ENSEMBLE = "mean_probability"

Run = tuple[str, str, int]
"""Data set, method and seed."""


class Cell(NamedTuple):
    """What one number is about."""

    dataset: str
    method: str
    shot: int
    classifier: str
    representation: str


class Results(NamedTuple):
    accuracies: dict[Cell, np.ndarray]
    """In percent, [seeds, episodes]; the cells in the config's order."""
    evaluations: dict[tuple[str, str], list[Path]]
    """The files behind a data set and method, seed by seed."""


def read(experiment: Experiment, evaluations: Sequence[Path]) -> Results:
    """The accuracies of every run of the experiment, whatever the order of the files.

    Raises `UserError` where an evaluation is missing, given twice, unreadable, or not what the config asks for.
    """
    runs = _by_run(experiment, evaluations)
    accuracies, paths = {}, {}
    for dataset, method in product(experiment.datasets, experiment.methods):
        files, tables = zip(*(runs.pop((dataset, method, seed)) for seed in experiment.seeds), strict=True)
        paths[dataset, method] = list(files)
        values = 100 * np.stack(tables)
        for i, row in enumerate(tables[0].index):
            accuracies[Cell(dataset, method, *row)] = values[:, i]
    return Results(accuracies, paths)


def summarize(results: Results) -> pd.DataFrame:
    """A row a cell: its names, seeds, episodes, and the `statistics.Summary` of its accuracy in percent."""
    rows = [
        cell._asdict()
        | {"seeds": values.shape[0], "episodes": values.shape[1]}
        | statistics.summarize(values)._asdict()
        for cell, values in results.accuracies.items()
    ]
    return pd.DataFrame(rows).rename(columns={"half_width": "ci95", "half_width_over_seeds": "ci95_over_seeds"})


def _by_run(experiment: Experiment, evaluations: Sequence[Path]) -> dict[Run, tuple[Path, pd.DataFrame]]:
    """Each evaluation's path and accuracies as `_by_episode` gives them: every run of the experiment and no other."""
    wanted = dict.fromkeys(product(experiment.datasets, experiment.methods, experiment.seeds))
    found: dict[Run, tuple[Path, pd.DataFrame]] = {}
    for path in sorted(map(Path, evaluations)):
        run, frame = read_run(path)
        if run in found:
            raise UserError(f"{path}: is of {_name(run)}, as {found[run][0]} is; give one of them")
        if run not in wanted:
            raise UserError(f"{path}: is of {_name(run)}, no run of experiment {experiment.name}; leave it out")
        # At once, file by file: the accuracies alone take an eighth of the frame's memory.
        found[run] = path, _by_episode(path, frame, experiment, experiment.methods[run[1]])
    for run in wanted:
        if run not in found:
            raise UserError(f"no evaluation of {_name(run)} among those given; run mlcl evaluate first")
    return found


def _name(run: Run) -> str:
    return "/".join(map(str, run))


def read_run(path: Path) -> tuple[Run, pd.DataFrame]:
    """Whose evaluation a file is, and its rows. Raises `UserError` where it is no evaluation of one run."""
    try:
        frame = pyarrow.parquet.read_table(path, columns=COLUMNS, partitioning=None).to_pandas()
    except (OSError, pyarrow.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: cannot be read as an evaluation ({reason}); run mlcl evaluate again") from error
    runs = list(frame[["dataset", "method", "seed"]].drop_duplicates().itertuples(index=False, name=None))
    if len(runs) != 1:
        raise UserError(f"{path}: holds {len(runs)} runs, where an evaluation holds one; run mlcl evaluate again")
    return runs[0], frame


def _by_episode(path: Path, frame: pd.DataFrame, experiment: Experiment, method: Method) -> pd.DataFrame:
    """One run's accuracies: a row per shot, classifier and representation, a column an episode."""
    evaluation = experiment.evaluation
    keys = ["shot", "classifier", "representation"]
    if frame.duplicated([*keys, "episode"]).any():
        raise UserError(f"{path}: holds an episode twice; run mlcl evaluate again")
    if set(frame["episode"]) != set(range(evaluation.episodes)):
        raise UserError(
            f"{path}: holds {frame['episode'].nunique()} episodes, where the config asks for those from 0 to "
            f"{evaluation.episodes - 1}; run mlcl evaluate again"
        )
    levels = (f"level{level}" for level in method.encoder.levels)
    rows = product(evaluation.shots, evaluation.classifiers, (*levels, "concatenate", ENSEMBLE))
    wanted = pd.MultiIndex.from_tuples(rows, names=keys)
    table = frame.pivot(index=keys, columns="episode", values="accuracy").reindex(wanted).astype(float)
    right = ((table >= 0) & (table <= 1)).all(axis=1)
    if not right.all():
        row = ", ".join(f"{key} {value}" for key, value in zip(keys, right.idxmin(), strict=True))
        raise UserError(f"{path}: lacks accuracies from 0 to 1 for {row}; run mlcl evaluate again")
    return table
