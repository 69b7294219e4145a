"""Accuracy by level, and by ensemble beside them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlcl.figures.style import SEED_DOT, drawn, legend_shape, looks, styled
from mlcl.representations import CHOSEN, ENSEMBLE, JOINT, WEIGHTED

# The last a line lower, since they stand close together.
ENSEMBLES = {ENSEMBLE: "mean\nprob.", JOINT: "concat", CHOSEN: "chosen", WEIGHTED: "\nweighted"}
BESIDE = 0.1  # how far right of a mean its seeds stand, in levels: clear of its marker


def levels(results: pd.DataFrame) -> dict[str, bytes]:
    """Accuracy by level with 95% intervals, the ensembles beside them: a row a shot, a column a data set; where there
    are several training seeds, a dot for each to the right.

    `results` holds one row per dataset, shot, title (the method's) and representation, of one classifier, with
    `mean`, `ci95` and `by_seed`, each training's, in percent; panels, lines and colours follow its order. Returns the
    bytes of an SVG and a PNG.
    """
    shots, datasets, titles = (list(results[key].unique()) for key in ("shot", "dataset", "title"))
    with styled():
        panel = 0.57 * results["representation"].nunique()
        width, fitting, above = legend_shape(titles, 0.8 + panel * len(datasets))
        figure = Figure(figsize=(width, 0.5 + 2.4 * len(shots) + above), dpi=150, layout="constrained")
        panels = figure.subplots(len(shots), len(datasets), sharex=True, squeeze=False)
        for (row, column), axes in np.ndenumerate(panels):
            inside = (results["shot"] == shots[row]) & (results["dataset"] == datasets[column])
            _panel(axes, results[inside], titles)
            axes.set_title(f"{datasets[column]}, {shots[row]}-shot", fontsize="medium")
        classifier = results["classifier"].iloc[0].replace("_", " ")
        figure.supylabel(f"accuracy (%), {classifier}", fontsize="medium")
        handles = panels[0, 0].containers[::2]  # of every method the levels', then the ensembles'
        figure.legend(handles, titles, loc="outside upper center", ncols=fitting, frameon=False)
        return drawn(figure)


def _panel(axes: Axes, results: pd.DataFrame, titles: list[str]) -> None:
    present = set(results["representation"])
    names = sorted(present - set(ENSEMBLES), key=_level)
    labels = {name: label for name, label in ENSEMBLES.items() if name in present}
    places = {name: float(_level(name)) for name in names}
    edge = max(places.values()) + 0.6
    places |= {name: edge + 0.6 + place for place, name in enumerate(labels)}
    for (title, look), dodge in zip(looks(titles).items(), _dodges(len(titles)), strict=True):
        line = results[results["title"] == title].set_index("representation").rename(index=places)
        style = look | {"markersize": 4.5, "capsize": 2, "elinewidth": 1, "linewidth": 1.2}
        by_level, ensembles = line[line.index < edge].sort_index(), line[line.index > edge]
        axes.errorbar(by_level.index + dodge, by_level["mean"], by_level["ci95"], **style)
        axes.errorbar(ensembles.index + dodge, ensembles["mean"], ensembles["ci95"], **style | {"linestyle": "none"})
        for place, seeds in zip(line.index + dodge + BESIDE, line["by_seed"], strict=True):
            if len(seeds) > 1:
                axes.plot([place] * len(seeds), seeds, color=look["color"], **SEED_DOT)
    axes.axvline(edge, color="0.8", linewidth=0.8)
    axes.set_xticks(list(places.values()), [*(f"level {_level(name)}" for name in names), *labels.values()])
    axes.tick_params(axis="x", length=0)
    axes.margins(x=0.08)


def _level(representation: str) -> int:
    """4 for level4."""
    return int(representation.removeprefix("level"))


def _dodges(count: int) -> np.ndarray:
    """How far each of `count` methods stands beside its level, so that no error bar hides another."""
    return (np.arange(count) - (count - 1) / 2) * min(2 * BESIDE, 0.5 / count)
