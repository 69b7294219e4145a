"""The figure of accuracy by level, drawn without pyplot's global state and with the same bytes every time."""

from __future__ import annotations

from io import BytesIO
from itertools import cycle
from math import ceil

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's palette for the colour-blind without its yellow. The markers tell the methods apart in grey too, and,
# being one more, make 56 different pairs.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
ENSEMBLES = {"mean_probability": "mean\nprob.", "concatenate": "concat"}
STYLE = {
    "font.size": 9,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "grid.color": "0.9",
    "svg.hashsalt": "mlcl",
    "text.parse_math": False,  # a title may hold dollars
}
# What each format would otherwise say about when and by what it was made.
METADATA = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}


def levels(results: pd.DataFrame) -> dict[str, bytes]:
    """Accuracy by level with 95% intervals, the ensembles beside them: a row a shot, a column a data set.

    `results` holds one row per dataset, shot, title (the method's) and representation, of one classifier, with
    `mean` and `ci95` in percent; panels, lines and colours follow its order. Returns the bytes of an SVG and a PNG.
    """
    shots, datasets, titles = (list(results[key].unique()) for key in ("shot", "dataset", "title"))
    with matplotlib.style.context(["default", STYLE]):
        # In inches; a legend's column takes 0.7 and 0.065 a character, its row 0.2.
        width = 0.8 + 3.4 * len(datasets)
        fitting = max(1, min(len(titles), int(width / (0.7 + 0.065 * max(map(len, titles))))))
        height = 0.5 + 2.4 * len(shots) + 0.2 * ceil(len(titles) / fitting)
        figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
        panels = figure.subplots(len(shots), len(datasets), sharex=True, squeeze=False)
        for (row, column), axes in np.ndenumerate(panels):
            inside = (results["shot"] == shots[row]) & (results["dataset"] == datasets[column])
            _panel(axes, results[inside], titles)
            axes.set_title(f"{datasets[column]}, {shots[row]}-shot", fontsize="medium")
        classifier = results["classifier"].iloc[0].replace("_", " ")
        figure.supylabel(f"accuracy (%), {classifier}", fontsize="medium")
        handles = panels[0, 0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside upper center", ncols=fitting, frameon=False)
        return {form: _drawn(figure, form) for form in METADATA}


def _drawn(figure: Figure, form: str) -> bytes:
    drawn = BytesIO()
    figure.savefig(drawn, format=form, metadata=METADATA[form])
    return drawn.getvalue()


def _panel(axes: Axes, results: pd.DataFrame, titles: list[str]) -> None:
    names = sorted(set(results["representation"]) - set(ENSEMBLES), key=_level)
    places = {name: float(_level(name)) for name in names}
    edge = max(places.values()) + 0.6
    places |= {name: edge + 0.6 + place for place, name in enumerate(ENSEMBLES)}
    for title, dodge, colour, marker in zip(titles, _dodges(len(titles)), cycle(COLOURS), cycle(MARKERS), strict=False):
        line = results[results["title"] == title].set_index("representation").rename(index=places)
        style = {"color": colour, "marker": marker, "markersize": 4.5, "capsize": 2, "elinewidth": 1, "linewidth": 1.2}
        by_level, ensembles = line[line.index < edge].sort_index(), line[line.index > edge]
        axes.errorbar(by_level.index + dodge, by_level["mean"], by_level["ci95"], label=title, **style)
        axes.errorbar(ensembles.index + dodge, ensembles["mean"], ensembles["ci95"], **style | {"linestyle": "none"})
    axes.axvline(edge, color="0.8", linewidth=0.8)
    axes.set_xticks(list(places.values()), [*(f"level {_level(name)}" for name in names), *ENSEMBLES.values()])
    axes.tick_params(axis="x", length=0)
    axes.margins(x=0.08)


def _level(representation: str) -> int:
    """4 for level4."""
    return int(representation.removeprefix("level"))


def _dodges(count: int) -> np.ndarray:
    """How far each of `count` methods stands beside its level, so that no error bar hides another."""
    return (np.arange(count) - (count - 1) / 2) * min(0.12, 0.5 / count)
