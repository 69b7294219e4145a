"""Published results beside each method's last level and ensemble, a table a data set.

What may be compared comes first, grouped as in the paper's claim; what may not is kept apart below and never marked.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from mlcl.tables.layout import Table, joined, lay_out
from mlcl.tables.study import RULE, TOGETHER, WEIGHTS, Study, best, columns, protocol, roles, several, sides, titles

PAPER = "2021-07"  # when it appeared
LATE = "appeared after July 2021"
COMPARED = ["regular", "ensemble", "single-level contrastive", "this paper", "added", "ours"]
APART = [LATE, "transductive", "semi-supervised"]
COLUMNS = [
    "block",
    "kind",
    "method",
    "venue_year",
    "appeared",
    "encoder",
    "representation",
    "dataset",
    "shot",
    "accuracy",
    "ci95",
    "source",
    "note",
]


def build(study: Study) -> tuple[pd.DataFrame, list[Table]]:
    frame = pd.concat([_published(study), _ours(study)], ignore_index=True)
    frame["block"] = pd.Categorical(frame["block"], [*COMPARED, *APART])
    marked = frame.assign(accuracy=frame["accuracy"].where(frame["block"].isin(COMPARED)))
    shown = frame.assign(
        bold=best(marked, "accuracy"),
        underlined=best(marked, "accuracy", rank=2),
    )
    tables = [_table(study, name, shown[shown["dataset"] == name]) for name in study.experiment.datasets]
    return frame[COLUMNS], tables


def comparable(study: Study) -> pd.DataFrame:
    """The published rows that may be compared with ours."""
    rows = _published(study)
    return rows[rows["block"].isin(COMPARED)]


def compared(study: Study) -> pd.DataFrame:
    """The rows of the summary that stand side by side, method by method and then the deep ensembles, each
    representation named by its role."""
    return pd.concat(
        study.first[(study.first["method"] == name) & (study.first["representation"] == key)].assign(
            representation=role
        )
        for name in (*study.experiment.methods, *study.experiment.ensembles)
        for role, key in roles(study.experiment, name).items()
    )


def episodes(study: Study) -> dict[tuple[str, int, str, str], np.ndarray]:
    """Of what stands side by side, the accuracies in percent, [seeds, episodes], by data set, shot, title and role."""
    names = titles(study.experiment)
    return {
        (dataset, shot, names[name], role): study.accuracies(dataset, shot, side)
        for dataset, shot in columns(study.experiment)
        for (name, role), side in sides(study.experiment).items()
        if name in study.experiment.methods
    }


def _published(study: Study) -> pd.DataFrame:
    """As `published.read` gives them, in the blocks of the table."""
    blocks = [
        LATE if kind not in APART and _late(appeared) else kind
        for kind, appeared in zip(study.published["kind"], study.published["appeared"], strict=True)
    ]
    return study.published.assign(representation="", block=blocks, evaluations=[()] * len(blocks))


def _late(appeared: str) -> bool:
    """A year alone may mean its last month."""
    return appeared != "" and (appeared + "-12")[:7] > PAPER


def _table(study: Study, dataset: str, rows: pd.DataFrame) -> Table:
    experiment, rows = study.experiment, rows.sort_values("block", kind="stable")
    published = rows[rows["block"] != "ours"]
    labels = {"method": "Method", "encoder": "Encoder", "representation": "Representation"}
    learnt = f"Chosen levels: {RULE}. " if experiment.evaluation.choose else ""
    learnt += f"Weighted levels: {WEIGHTS}. " if experiment.evaluation.weigh else ""
    learnt += f"{several(experiment)}: {TOGETHER}. " if experiment.ensembles else ""
    notes = [
        "Ours: " + protocol(experiment, experiment.evaluation.classifiers[0]),
        "Last level: the representation of the encoder's last level alone. Ensemble: one classifier a level, their "
        f"class probabilities averaged. {learnt}Bold: the best of its column; underlined: the second best.",
    ]
    if len(published):
        sources = _marks(published["source"], "[{}]")
        remarks = _marks(published["note"], "({})")
        headings = {block: f"kept apart: {block}" if block in APART else block for block in [*COMPARED, *APART]}
        rows = rows.assign(cited=_citations(rows, sources, remarks), block=rows["block"].map(headings).astype(str))
        labels = {"method": "Method", "cited": "Published", **labels}
        notes += _notes(published)
        notes += [f"{mark} {text}" for marks in (remarks, sources) for text, mark in marks.items()]
    else:
        rows = rows.assign(block="")
    title = f"Comparison on {dataset}, accuracy (%)"
    columns = [(dataset, shot) for shot in experiment.evaluation.shots]
    return lay_out(title, rows, columns, labels, "accuracy", notes)


def _notes(published: pd.DataFrame) -> list[str]:
    notes = [
        "Published results are cited from the sources in square brackets, not rerun; round brackets refer to the notes "
        "below. Their training, image sizes and numbers of episodes differ, and so do their encoders: the marks span "
        "all of these, and numbers of different encoders are not strictly comparable. The headings are ours.",
        "Kept apart and not marked: methods that appeared after July 2021, the month of the paper, and those that see "
        "more than the labelled shots of a task (transductive: its queries; semi-supervised: unlabelled images). A "
        "method's date is that of the preprint or workshop where its reference names one, else its venue's; a year "
        "alone is taken for its December.",
    ]
    if (published["block"] == "added").any():
        notes.append("Added: from the files that the experiment's config names under published.")
    if (published["accuracy"].isna() & (published["block"] == "this paper")).any():
        notes.append(
            "This paper: its own numbers are not public to us. Its lines in mlcl/published_results.csv, one a number, "
            "are where to enter them: accuracy and, where there is one, ci95."
        )
    return notes


def _marks(texts: pd.Series, form: str) -> dict[str, str]:
    """A number for each text that is not empty, in order of appearance."""
    return {text: form.format(number) for number, text in enumerate(filter(None, texts.unique()), 1)}


def _citations(rows: pd.DataFrame, *marks: dict[str, str]) -> pd.Series:
    """Venue, year and the marks of all sources and notes of a line of the table; blank for ours."""
    line = rows.groupby(["block", "method", "venue_year", "encoder", "representation"], observed=True)
    cited = rows["venue_year"].copy()
    for column, of in zip(("source", "note"), marks, strict=True):
        cited += " " + line[column].transform(lambda texts, of=of: "".join(of.get(text, "") for text in texts.unique()))
    return cited.str.split().str.join(" ")


def _ours(study: Study) -> pd.DataFrame:
    rows = compared(study)
    ours = rows.assign(block="ours", kind="ours", method=rows["title"], venue_year="", appeared="", note="")
    return ours.assign(source=joined(rows["evaluations"])).rename(columns={"mean": "accuracy"})
