"""Every representation of every method, a table a classifier."""

from __future__ import annotations

import pandas as pd

from mlcl.tables.layout import Table, lay_out
from mlcl.tables.study import Study, best, columns, protocol, words


def build(study: Study) -> tuple[pd.DataFrame, list[Table]]:
    tables = []
    for classifier, frame in study.summary.groupby("classifier", sort=False):
        shown = frame.assign(
            block=frame["title"] + " (" + frame["encoder"] + ")",
            representation=frame["representation"].map(words),
            bold=best(frame, "mean"),
        )
        title = f"Level by level, {words(classifier)}, accuracy (%)"
        labels = {"representation": "Representation"}
        notes = [protocol(study.experiment, classifier), "Bold: the best in its column."]
        tables.append(lay_out(title, shown, columns(study.experiment), labels, "mean", notes))
    return study.summary.drop(columns=["title", "by_seed"]), tables
