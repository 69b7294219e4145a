"""An experiment and its numbers, as the tables, figures and report see them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from mlcl import results
from mlcl.config import Experiment, Method
from mlcl.results import ENSEMBLE, Results
from mlcl.tables import published


class Study(NamedTuple):
    experiment: Experiment
    results: Results
    """The accuracies of every episode."""
    summary: pd.DataFrame
    """As `results.summarize` gives it, with each method's title and encoder, and the evaluations behind each number."""
    sources: dict[tuple[str, str], str]
    """The evaluations behind a data set and method, relative to the folder that the tables go to."""
    published: pd.DataFrame
    """As `published.read` gives it."""

    @property
    def first(self) -> pd.DataFrame:
        """The rows of the summary of the classifier that the comparison shows."""
        return self.summary[self.summary["classifier"] == self.experiment.evaluation.classifiers[0]]


def read(experiment: Experiment, evaluations: Sequence[Path], out: Path, root: Path) -> Study:
    """Raises `UserError` as `results.read` and `published.read` do."""
    known = published.read(experiment, root)
    found = results.read(experiment, evaluations)
    sources = {
        key: "; ".join(Path(os.path.relpath(path, out)).as_posix() for path in paths)
        for key, paths in found.evaluations.items()
    }
    summary = results.summarize(found)
    runs = zip(summary["dataset"], summary["method"], strict=True)
    summary = summary.assign(
        title=summary["method"].map(titles(experiment)),
        encoder=summary["method"].map({name: encoder(method) for name, method in experiment.methods.items()}),
        evaluations=[sources[run] for run in runs],
    )
    return Study(experiment, found, summary, sources, known)


def titles(experiment: Experiment) -> dict[str, str]:
    """What the tables call each method; no two alike."""
    names = {name: " ".join((method.title or name).split()) for name, method in experiment.methods.items()}
    uses = Counter(names.values())
    return {name: title if uses[title] == 1 else f"{title} ({name})" for name, title in names.items()}


def encoder(method: Method) -> str:
    return f"{method.encoder.name}, width {method.encoder.width}"


def roles(method: Method) -> dict[str, str]:
    """The two representations of a method that are set side by side."""
    return {"last level": f"level{method.encoder.levels[-1]}", "ensemble": ENSEMBLE}


def columns(experiment: Experiment) -> list[tuple[str, int]]:
    """The tables' columns: data set and shot."""
    return list(product(experiment.datasets, experiment.evaluation.shots))


def words(name: str) -> str:
    return name.replace("_", " ").replace("level", "level ")


def protocol(experiment: Experiment, classifier: str) -> str:
    """The note that says how a table's numbers were measured."""
    evaluation = experiment.evaluation
    shots, seeds = (", ".join(map(str, numbers)) for numbers in (evaluation.shots, experiment.seeds))
    return (
        f"{evaluation.way}-way, shots: {shots}, {evaluation.queries} queries a class, {evaluation.episodes} episodes "
        f"of the {evaluation.split} split, {words(classifier)}; training seeds: {seeds}. After ± stands the "
        "half-width of Student's 95% interval over the episodes, each averaged over the seeds first: it covers the "
        "sampling of the episodes, not that of the trainings."
    )


def best(frame: pd.DataFrame, column: str, rank: int = 1) -> pd.Series:
    """Whether a number, as shown, is the highest of its data set and shot; rank 2 asks for the next lower one."""
    shown = frame[column].round(2).groupby([frame["dataset"], frame["shot"]])
    return shown.rank(method="dense", ascending=False) == rank
