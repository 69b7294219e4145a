"""Which files an experiment has, and where they lie, as the rules in workflow/rules/ have it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from mlcl.config import Experiment

FIGURES = ("levels", "gain", "shots", "episodes")
"""What the tables' numbers are drawn as."""
UNSEEN_FIGURES = ("embedding", "neighbours", "pairs")
"""What the evaluated classes of a data set are drawn as."""


class Files(NamedTuple):
    """The files of an experiment; `root` holds data/ and results/. A run is DATASET/METHOD/SEED; a deep
    ensemble has an evaluation alone, and its seeds joined by + in their place."""

    root: Path
    name: str

    @property
    def folder(self) -> Path:
        return self.root / "results" / self.name

    def manifest(self, dataset: str) -> Path:
        return self.root / "data" / "packed" / dataset / "manifest.json"

    def model(self, run: str) -> Path:
        return self.folder / "models" / run / "model.safetensors"

    def records(self, run: str) -> Path:
        """The folder with what is known of a training: run.json and metrics.csv."""
        return self.folder / "runs" / run

    def scratch(self, run: str) -> Path:
        return self.folder / "training" / run

    def features(self, run: str, part: str) -> Path:
        """Of a split, or `copies`."""
        return self.folder / "features" / run / f"{part}.npy"

    def evaluation(self, run: str) -> Path:
        return self.folder / "evaluations" / f"{run}.parquet"

    def choices(self, run: str) -> Path:
        """The evaluation on the validation classes by which the run's levels are chosen."""
        return self.folder / "choices" / f"{run}.parquet"

    def table(self, name: str, form: str = "md") -> Path:
        return self.folder / "tables" / f"{name}.{form}"

    def removal(self, run: str) -> str:
        """The command that removes what there is of a run, so that it is made anew."""
        parts = f"models/{run} runs/{run} features/{run} evaluations/{run}.parquet choices/{run}.parquet"
        return f"cd {quote(str(self.folder))} && rm -rf {parts}"

    def log(self, job: str) -> Path:
        return self.folder / "logs" / f"{job}.log"


def runs(experiment: Experiment, methods: Iterable[str]) -> Iterator[str]:
    """DATASET/METHOD/SEED of these methods: each has an evaluation."""
    for run in product(experiment.datasets, methods, experiment.seeds):
        yield "/".join(map(str, run))


def trainings(experiment: Experiment, methods: Iterable[str]) -> list[str]:
    """The `runs` that have a training, too."""
    return [run for run in runs(experiment, methods) if experiment.encoder_of(run) == run]


def ensembles(experiment: Experiment) -> Iterator[str]:
    """DATASET/METHOD/SEED+SEED+... of the deep ensembles."""
    for ensemble in product(experiment.datasets, experiment.ensembles):
        yield "/".join(ensemble)


def table_names(experiment: Experiment) -> list[str]:
    """The tables that the experiment's config gives something to show."""
    evaluation = experiment.evaluation
    asked = {
        "deep_ensembles": experiment.deep_ensembles,
        "choice": evaluation.choose,
        "weights": evaluation.weigh,
        "subsets": evaluation.subsets,
        "classifiers": len(evaluation.classifiers) * len(evaluation.processing) > 1,
        "sweeps": any(variant.recipe != variant.method for variant in experiment.variants),
    }
    return ["comparison", "factorial", "differences", "ablation", *(name for name, there in asked.items() if there)]


def drawn_methods(experiment: Experiment) -> list[str]:
    """The methods whose unseen classes are drawn side by side, by the first seed: a page has room for no more."""
    return list(experiment.methods)[:4]
