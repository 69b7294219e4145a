"""Published results, where there are some of a data set, then each method's last level and ensemble."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mlcl.config import Experiment
from mlcl.tables.layout import Table, lay_out
from mlcl.tables.study import Study, best, columns, protocol, roles

PUBLISHED = Path(__file__).parents[1] / "published_results.csv"
# What PUBLISHED calls the data set that a config's `source` names.
PUBLISHED_NAMES = {"mini-imagenet": "mini-ImageNet"}
COMPARISON = [
    "kind",
    "method",
    "venue_year",
    "encoder",
    "representation",
    "dataset",
    "shot",
    "accuracy",
    "ci95",
    "source",
]


def build(study: Study) -> tuple[pd.DataFrame, list[Table]]:
    experiment = study.experiment
    published, ours = _published(experiment), _ours(study)
    frame = pd.concat([published, ours], ignore_index=True)
    shown = frame.assign(block="", bold=[*[False] * len(published), *best(ours, "accuracy")])
    labels = {"method": "Method", "encoder": "Encoder", "representation": "Representation"}
    notes = [
        "Ours: " + protocol(experiment, experiment.evaluation.classifiers[0]),
        "Last level: the representation of the encoder's last level alone. Ensemble: one classifier a level, their "
        "class probabilities averaged. Bold: the best of ours in its column.",
    ]
    if len(published):
        marks = {source: f"[{number}]" for number, source in enumerate(published["source"].unique(), 1)}
        shown = shown.assign(block=shown["kind"], cited=_citations(shown, marks))
        labels = {"method": "Method", "cited": "Published", **labels}
        notes += [
            "Published results are cited from the sources in brackets, not rerun; their training, image sizes and "
            "numbers of episodes differ. The headings that group them are ours.",
            *(f"{mark} {source}" for source, mark in marks.items()),
        ]
    return frame, [lay_out("Comparison, accuracy (%)", shown, columns(experiment), labels, "accuracy", notes)]


def compared(study: Study) -> pd.DataFrame:
    """The rows of the summary that stand side by side, method by method, each representation named by its role."""
    return pd.concat(
        study.first[(study.first["method"] == name) & (study.first["representation"] == key)].assign(
            representation=role
        )
        for name, method in study.experiment.methods.items()
        for role, key in roles(method).items()
    )


def _citations(frame: pd.DataFrame, marks: dict[str, str]) -> pd.Series:
    """Venue, year and the marks of all sources of a row; blank for ours."""
    rows = frame.groupby(["method", "venue_year", "encoder"])["source"]
    cited = rows.transform(lambda sources: "".join(marks.get(source, "") for source in sources.unique()))
    return (frame["venue_year"] + " " + cited).str.strip()


def _published(experiment: Experiment) -> pd.DataFrame:
    """What others report on the test classes of the experiment's data sets, for tasks of its shape."""
    evaluation = experiment.evaluation
    known = pd.read_csv(PUBLISHED).rename(columns={"backbone": "encoder"}).assign(representation="")
    same = (known["way"] == evaluation.way) & known["shot"].isin(evaluation.shots) & (evaluation.split == "test")
    by_dataset = [
        known[same & (known["dataset"] == PUBLISHED_NAMES.get(dataset.source))].assign(dataset=name)
        for name, dataset in experiment.datasets.items()
    ]
    return pd.concat(by_dataset).sort_index(kind="stable")[COMPARISON]


def _ours(study: Study) -> pd.DataFrame:
    rows = compared(study)
    ours = rows.assign(kind="ours", method=rows["title"], venue_year="")
    return ours.rename(columns={"mean": "accuracy", "evaluations": "source"})[COMPARISON]
