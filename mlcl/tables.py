"""An experiment's tables and figure.

Every number is computed once, into a frame in long form that is the table's CSV; its markdown and LaTeX are that frame
laid out. Accuracies, intervals and differences are in percent, with ten digits in the CSV and two decimals where they
are laid out. The bytes depend on the config, the evaluations and their paths alone, not on the order of the files.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations, product
from pathlib import Path

import pandas as pd

from mlcl import figures, results, statistics
from mlcl.config import Experiment, Method
from mlcl.files import replacing
from mlcl.layout import MINUS, Table, latex, lay_out, markdown
from mlcl.results import ENSEMBLE, Cell, Results

PUBLISHED = Path(__file__).with_name("published_results.csv")
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

Sources = dict[tuple[str, str], str]
"""The evaluations behind a data set and method, relative to the folder that the tables go to."""


def write(experiment: Experiment, evaluations: Sequence[Path], out: Path) -> None:
    """Write `out`/tables/{comparison,ablation,differences}.{md,csv,tex}, `out`/figures/levels.{svg,png} and, for tools
    that compare runs, `out`/tables/metrics.json.

    Either all of them are replaced or none. Raises `UserError` as `results.read` does.
    """
    found = results.read(experiment, evaluations)
    sources = {
        key: "; ".join(Path(os.path.relpath(path, out)).as_posix() for path in paths)
        for key, paths in found.evaluations.items()
    }
    summary = _named(experiment, results.summarize(found), sources)
    contents: dict[Path, bytes] = {}
    for name, (frame, tables) in {
        "comparison": _comparison(experiment, summary),
        "ablation": _ablation(experiment, summary),
        "differences": _differences(experiment, found, sources),
    }.items():
        stem = out / "tables" / name
        contents[stem.with_suffix(".md")] = "\n".join(map(markdown, tables)).encode()
        contents[stem.with_suffix(".tex")] = "\n\\bigskip\n\n".join(map(latex, tables)).encode()
        contents[stem.with_suffix(".csv")] = _csv(frame).encode()
    contents[out / "tables" / "metrics.json"] = _metrics(experiment, summary).encode()
    for form, drawn in figures.levels(_first_classifier(experiment, summary)).items():
        contents[out / "figures" / f"levels.{form}"] = drawn
    with replacing(*contents) as temporaries:
        for temporary, content in zip(temporaries, contents.values(), strict=True):
            temporary.write_bytes(content)


def _csv(frame: pd.DataFrame) -> str:
    return frame.to_csv(index=False, lineterminator="\n", float_format="%.10g")


def _metrics(experiment: Experiment, summary: pd.DataFrame) -> str:
    """The comparison's accuracies of ours by data set, method, representation and shot."""
    tree: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for row in _compared(experiment, summary).itertuples():
        shots = tree.setdefault(row.dataset, {}).setdefault(row.method, {}).setdefault(row.representation, {})
        shots[f"{row.shot}-shot"] = round(row.mean, 4)
    return json.dumps(tree, indent=2) + "\n"


def _named(experiment: Experiment, summary: pd.DataFrame, sources: Sources) -> pd.DataFrame:
    """`summary` with each method's title and encoder, and the evaluations behind each number."""
    titles = _titles(experiment)
    encoders = {name: f"{key.encoder.name}, width {key.encoder.width}" for name, key in experiment.methods.items()}
    runs = zip(summary["dataset"], summary["method"], strict=True)
    return summary.assign(
        title=summary["method"].map(titles),
        encoder=summary["method"].map(encoders),
        evaluations=[sources[run] for run in runs],
    )


def _titles(experiment: Experiment) -> dict[str, str]:
    """What the tables call each method; no two alike."""
    titles = {name: " ".join((method.title or name).split()) for name, method in experiment.methods.items()}
    uses = Counter(titles.values())
    return {name: title if uses[title] == 1 else f"{title} ({name})" for name, title in titles.items()}


def _first_classifier(experiment: Experiment, summary: pd.DataFrame) -> pd.DataFrame:
    return summary[summary["classifier"] == experiment.evaluation.classifiers[0]]


def _roles(method: Method) -> dict[str, str]:
    """The two representations of a method that are set side by side."""
    return {"last level": f"level{method.encoder.levels[-1]}", "ensemble": ENSEMBLE}


def _best(frame: pd.DataFrame, column: str) -> pd.Series:
    """Whether a number, as shown, is the highest of its data set and shot."""
    shown = frame[column].round(2)
    return shown == shown.groupby([frame["dataset"], frame["shot"]]).transform("max")


# -- the tables: each a frame in long form, and that frame laid out -----------------------------------------


def _comparison(experiment: Experiment, summary: pd.DataFrame) -> tuple[pd.DataFrame, list[Table]]:
    """Published results, where there are some of a data set, then each method's last level and ensemble."""
    published, ours = _published(experiment), _ours(experiment, summary)
    frame = pd.concat([published, ours], ignore_index=True)
    shown = frame.assign(block="", bold=[*[False] * len(published), *_best(ours, "accuracy")])
    labels = {"method": "Method", "encoder": "Encoder", "representation": "Representation"}
    notes = [
        "Ours: " + _protocol(experiment, experiment.evaluation.classifiers[0]),
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
    return frame, [lay_out("Comparison, accuracy (%)", shown, _columns(experiment), labels, "accuracy", notes)]


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


def _ours(experiment: Experiment, summary: pd.DataFrame) -> pd.DataFrame:
    compared = _compared(experiment, summary)
    ours = compared.assign(kind="ours", method=compared["title"], venue_year="")
    return ours.rename(columns={"mean": "accuracy", "evaluations": "source"})[COMPARISON]


def _compared(experiment: Experiment, summary: pd.DataFrame) -> pd.DataFrame:
    """The rows of `summary` that stand side by side, method by method, each representation named by its role."""
    first = _first_classifier(experiment, summary)
    return pd.concat(
        first[(first["method"] == name) & (first["representation"] == key)].assign(representation=role)
        for name, method in experiment.methods.items()
        for role, key in _roles(method).items()
    )


def _ablation(experiment: Experiment, summary: pd.DataFrame) -> tuple[pd.DataFrame, list[Table]]:
    """Every representation of every method, a table a classifier."""
    tables = []
    for classifier, frame in summary.groupby("classifier", sort=False):
        shown = frame.assign(
            block=frame["title"] + " (" + frame["encoder"] + ")",
            representation=frame["representation"].map(_words),
            bold=_best(frame, "mean"),
        )
        title = f"Level by level, {_words(classifier)}, accuracy (%)"
        labels = {"representation": "Representation"}
        notes = [_protocol(experiment, classifier), "Bold: the best in its column."]
        tables.append(lay_out(title, shown, _columns(experiment), labels, "mean", notes))
    return summary.drop(columns="title"), tables


def _differences(experiment: Experiment, found: Results, sources: Sources) -> tuple[pd.DataFrame, list[Table]]:
    """Paired differences on the same episodes: within each method, from the first, and between any two."""
    classifier = experiment.evaluation.classifiers[0]
    rows = []
    for (block, label, first, second), (dataset, shot) in product(_pairs(experiment), _columns(experiment)):
        row = {"block": block, "label": label, "dataset": dataset, "shot": shot, "classifier": classifier}
        accuracies = []
        for side, (method, representation) in {"first": first, "second": second}.items():
            accuracies.append(found.accuracies[Cell(dataset, method, shot, classifier, representation)])
            row[f"{side}_method"] = method
            row[f"{side}_representation"] = representation
            row[f"{side}_evaluations"] = sources[dataset, method]
        row["seeds"], row["episodes"] = accuracies[0].shape
        row["difference"], row["ci95"] = statistics.difference(*(values.mean(axis=0) for values in accuracies))
        rows.append(row)
    frame = pd.DataFrame(rows)
    shown = frame.assign(bold=frame["difference"].abs() > frame["ci95"])
    labels = {"label": "Difference"}
    notes = [
        _protocol(experiment, classifier),
        "Both sides meet the same episodes, and the interval is over the episodes' differences. Bold: it excludes 0; "
        "each interval stands for itself, not corrected for their number.",
    ]
    title = "Paired differences, points of accuracy"
    table = lay_out(title, shown, _columns(experiment), labels, "difference", notes, sign="+")
    return frame.drop(columns=["block", "label"]), [table]


Side = tuple[str, str]
"""Method and representation."""


def _pairs(experiment: Experiment) -> Iterator[tuple[str, str, Side, Side]]:
    """Heading, label, and the sides to subtract, the second from the first."""
    titles = _titles(experiment)
    sides = {
        (name, role): (name, key) for name, method in experiment.methods.items() for role, key in _roles(method).items()
    }
    baseline, *others = titles
    for name in titles:
        heading = f"ensemble {MINUS} last level, same method"
        yield heading, titles[name], sides[name, "ensemble"], sides[name, "last level"]
    for name in others:
        heading = f"ensemble {MINUS} last level of {titles[baseline]}"
        yield heading, titles[name], sides[name, "ensemble"], sides[baseline, "last level"]
    for role, (second, first) in product(("ensemble", "last level"), combinations(titles, 2)):
        label = f"{titles[first]} {MINUS} {titles[second]}"
        yield f"{role} {MINUS} {role}", label, sides[first, role], sides[second, role]


def _columns(experiment: Experiment) -> list[tuple[str, int]]:
    return list(product(experiment.datasets, experiment.evaluation.shots))


def _words(name: str) -> str:
    return name.replace("_", " ").replace("level", "level ")


def _protocol(experiment: Experiment, classifier: str) -> str:
    evaluation = experiment.evaluation
    shots, seeds = (", ".join(map(str, numbers)) for numbers in (evaluation.shots, experiment.seeds))
    return (
        f"{evaluation.way}-way, shots: {shots}, {evaluation.queries} queries a class, {evaluation.episodes} episodes "
        f"of the {evaluation.split} split, {_words(classifier)}; training seeds: {seeds}. After ± stands the "
        "half-width of Student's 95% interval over the episodes, each averaged over the seeds first: it covers the "
        "sampling of the episodes, not that of the trainings."
    )
