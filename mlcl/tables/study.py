"""An experiment and its numbers, as the tables, figures and report see them."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from mlcl import representations, results
from mlcl.config import Evaluation, Experiment, Method
from mlcl.representations import CHOSEN, ENSEMBLE, WEIGHTED, level
from mlcl.results import Cell, Results
from mlcl.tables import published

PROCESSING = {
    "l2": "unit length",
    "centre": "centred, unit length",
    "power": "square root, unit length",
    "power_centre": "square root, centred, unit length",
}


RULE = (
    "the level or ensemble of levels that does best on the validation classes, where it is ahead of the last level "
    "there by more than its 95% interval; else the last level"
)
"""What "chosen levels" are."""
WEIGHTS = "all levels, their logits summed with the weights that make the validation classes most probable"
"""What "weighted levels" are."""
TOGETHER = "those of all seeds, by the mean of the class probabilities that each gives"
"""What "3 encoders" are."""


class Side(NamedTuple):
    """What is compared on the same episodes."""

    method: str
    """Or a variant of a sweep, or a deep ensemble: a key of the experiment's recipes or `ensembles`."""
    representation: str
    processing: str | None = None
    """None, here and below: the first of the config."""
    classifier: str | None = None


class Study(NamedTuple):
    experiment: Experiment
    results: Results
    """The accuracies of every episode."""
    summary: pd.DataFrame
    """As `results.summarize` gives it for the levels and whole ensembles of every method by the first processing, with
    each method's title and encoder, and the evaluations behind each number."""
    sources: dict[tuple[str, str], tuple[str, ...]]
    """The evaluations behind a data set and recipe, seed by seed, relative to the folder that the tables go to."""
    published: pd.DataFrame
    """As `published.read` gives it."""

    @property
    def first(self) -> pd.DataFrame:
        """The rows of the summary of the classifier that the comparison shows."""
        return self.summary[self.summary["classifier"] == self.experiment.evaluation.classifiers[0]]

    def complete(self, side: Side) -> Side:
        evaluation = self.experiment.evaluation
        return side._replace(
            processing=side.processing or evaluation.processing[0],
            classifier=side.classifier or evaluation.classifiers[0],
        )

    def accuracies(self, dataset: str, shot: int, side: Side) -> np.ndarray:
        """In percent, [seeds, episodes], of a deep ensemble [1, episodes]."""
        method, representation, processing, classifier = self.complete(side)
        return self.results.accuracies[Cell(dataset, method, shot, processing, classifier, representation)]


def read(experiment: Experiment, evaluations: Sequence[Path], out: Path, root: Path) -> Study:
    """Raises `UserError` as `results.read` and `published.read` do."""
    known = published.read(experiment, root)
    found = results.read(experiment, evaluations)
    sources = {
        key: tuple(Path(os.path.relpath(path, out)).as_posix() for path in paths)
        for key, paths in found.evaluations.items()
    }
    encoders = {name: encoder(method) for name, method in experiment.methods.items()}
    encoders |= {name: f"{len(experiment.seeds)} x {encoders[method]}" for name, method in experiment.ensembles.items()}
    shown = {
        (name, representation)
        for name in encoders
        for representation in representations.names(
            levels(experiment, name), choose=experiment.evaluation.choose, weigh=experiment.evaluation.weigh
        )
    }
    summary = results.summarize(
        {
            cell: values
            for cell, values in found.accuracies.items()
            if (cell.method, cell.representation) in shown and cell.processing == experiment.evaluation.processing[0]
        }
    )
    runs = zip(summary["dataset"], summary["method"], strict=True)
    summary = summary.assign(
        title=summary["method"].map(titles(experiment)),
        encoder=summary["method"].map(encoders),
        evaluations=[sources[run] for run in runs],
    )
    return Study(experiment, found, summary, sources, known)


def titles(experiment: Experiment) -> dict[str, str]:
    """What the tables call each recipe and deep ensemble, the methods first; no two alike."""
    names = {name: " ".join((method.title or "").split()) or name for name, method in experiment.methods.items()}
    for variant in experiment.variants:
        names.setdefault(variant.recipe, f"{names[variant.method]}, {words(variant.sweep)} {variant.label}")
    for ensemble, method in experiment.ensembles.items():
        names[ensemble] = f"{names[method]}, {several(experiment)}"
    while max((uses := Counter(names.values())).values()) > 1:
        names = {name: title if uses[title] == 1 else f"{title} ({name})" for name, title in names.items()}
    return names


def several(experiment: Experiment) -> str:
    """What the tables call the encoders of a deep ensemble."""
    return f"{len(experiment.seeds)} encoders"


def encoder(method: Method) -> str:
    spec = method.encoder
    return f"{spec.name}, width {spec.width}{', branches' if spec.branches else ''}"


def levels(experiment: Experiment, name: str) -> tuple[int, ...]:
    """Those of the encoders of a recipe or deep ensemble."""
    return experiment.recipes[experiment.ensembles.get(name, name)].encoder.levels


def roles(experiment: Experiment, name: str) -> dict[str, str]:
    """The representations of a recipe or deep ensemble that are set side by side, by their roles."""
    found = {"last level": level(levels(experiment, name)[-1]), "ensemble": ENSEMBLE}
    if experiment.evaluation.choose:
        found["chosen levels"] = CHOSEN
    if experiment.evaluation.weigh:
        found["weighted levels"] = WEIGHTED
    return found


def sides(experiment: Experiment) -> dict[tuple[str, str], Side]:
    """Of every recipe and deep ensemble, by its key and the role."""
    return {
        (name, role): Side(name, key)
        for name in (*experiment.recipes, *experiment.ensembles)
        for role, key in roles(experiment, name).items()
    }


def columns(experiment: Experiment) -> list[tuple[str, int]]:
    """The tables' columns: data set and shot."""
    return list(product(experiment.datasets, experiment.evaluation.shots))


def words(name: str) -> str:
    """As logistic regression, or level 1+3."""
    return re.sub(r"level(?=\d)", "level ", name.replace("_", " "))


def protocol(experiment: Experiment, classifier: str) -> str:
    """The note that says how a table's numbers were measured."""
    evaluation = experiment.evaluation
    shots, seeds = (", ".join(map(str, numbers)) for numbers in (evaluation.shots, experiment.seeds))
    return (
        f"{evaluation.way}-way, shots: {shots}, {solved(evaluation, classifier)}; training seeds: {seeds}"
        f"{foreign(experiment)}. After ± "
        "stands the half-width of Student's 95% interval over the episodes, each averaged over the seeds first: it "
        "covers the sampling of the episodes, not that of the trainings."
    )


def foreign(experiment: Experiment) -> str:
    """Which data sets are solved by encoders of others."""
    return "".join(f"; {name} by the encoders trained on {of}" for name, of in experiment.trained_on.items())


def solved(evaluation: Evaluation, classifier: str) -> str:
    """Which episodes, and by what they are solved: what is not the plain features and images is said."""
    text = f"{evaluation.queries} queries a class, {evaluation.episodes} episodes of the {evaluation.split} split, "
    text += words(classifier)
    if evaluation.processing[0] != "l2":
        text += f" (features: {PROCESSING[evaluation.processing[0]]})"
    if evaluation.support_copies:
        text += f", {evaluation.support_copies} augmented copies for each support image"
    return text


def best(frame: pd.DataFrame, column: str, rank: int = 1) -> pd.Series:
    """Whether a number, as shown, is the highest of its data set and shot; rank 2 asks for the next lower one."""
    shown = frame[column].map(lambda value: float(f"{value:.2f}")).groupby([frame["dataset"], frame["shot"]])
    return shown.rank(method="dense", ascending=False) == rank
