"""Each method's last level beside its ensembles: what these gain, by shots, and episode by episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from mlcl.figures.style import SEED_DOT, drawn, in_rows, legend_shape, looks, styled

# The last level is drawn full, the ensemble hollow.
FULL, HOLLOW = "last level", "ensemble"
LINES = {FULL: {"linestyle": "-"}, HOLLOW: {"linestyle": "--", "markerfacecolor": "white"}}
SEEDS = 0.25  # how far below a mean its seeds stand, in parts of a shot's share of a row
QUANTILES = (5, 95)  # where the whiskers end, in percent


def gain(gains: pd.DataFrame) -> dict[str, bytes]:
    """What a role adds to the last level, with 95% intervals: a column a data set, a row of panels a role, in each a
    row a method; where there are several training seeds, a dot below for each.

    `gains` holds one row per role, title (the method's), dataset and shot, with `difference` and `ci95` in points and
    `by_seed`, each training's difference. Returns the bytes of an SVG and a PNG.
    """
    datasets, titles, shots, roles = (list(gains[key].unique()) for key in ("dataset", "title", "shot", "role"))
    with styled():
        figure, panels = _by_dataset(datasets, titles, 0.15 + 0.16 * len(shots), len(roles), sharex="col")
        for axes, (role, dataset) in zip(panels, product(roles, datasets), strict=True):
            axes.set_title(f"{dataset}, {role}", fontsize="medium")
            inside = gains[(gains["dataset"] == dataset) & (gains["role"] == role)]
            for place, (shot, look) in enumerate(looks(shots).items()):
                own = inside[inside["shot"] == shot].set_index("title").loc[titles]
                y = np.arange(len(titles)) + _offset(place, len(shots))
                style = look | {"linestyle": "none", "markersize": 4.5, "capsize": 2, "elinewidth": 1}
                axes.errorbar(own["difference"], y, xerr=own["ci95"], label=f"{shot}-shot", **style)
                for seeds, below in zip(own["by_seed"], y + SEEDS / len(shots), strict=True):
                    if len(seeds) > 1:
                        axes.plot(seeds, [below] * len(seeds), color=look["color"], **SEED_DOT)
            axes.axvline(0, color="0.4", linewidth=0.8)
        figure.supxlabel("difference from the last level (points of accuracy)", fontsize="medium")
        handles, labels = panels[0].get_legend_handles_labels()
        _, fitting, _ = legend_shape(labels, figure.get_figwidth())
        figure.legend(handles, labels, loc="outside upper center", ncols=fitting, frameon=False)
        return drawn(figure)


def shots(results: pd.DataFrame) -> dict[str, bytes]:
    """Accuracy against the number of shots, with 95% intervals: a column a data set.

    `results` holds one row per dataset, title, shot and representation, of which `FULL` and `HOLLOW` are drawn, with
    `mean` and `ci95` in percent. Returns the bytes of an SVG and a PNG.
    """
    datasets, titles = (list(results[key].unique()) for key in ("dataset", "title"))
    numbers, lines = sorted(results["shot"].unique()), results.groupby(["dataset", "title", "representation"])
    with styled():
        width, fitting, above = legend_shape([*titles, FULL, HOLLOW], 0.8 + 3.0 * len(datasets))
        figure = Figure(figsize=(width, 2.9 + above), dpi=150, layout="constrained")
        for axes, dataset in zip(figure.subplots(1, len(datasets), squeeze=False)[0], datasets, strict=True):
            for title, look in looks(titles).items():
                for role, line in LINES.items():
                    own = lines.get_group((dataset, title, role)).sort_values("shot")
                    style = look | line | {"markersize": 4.5, "capsize": 2, "elinewidth": 1, "linewidth": 1.2}
                    axes.errorbar(own["shot"], own["mean"], own["ci95"], **style)
            axes.set_xscale("log")
            axes.set_xticks(numbers, list(map(str, numbers)))
            axes.minorticks_off()
            axes.margins(x=0.12)
            axes.set_title(dataset, fontsize="medium")
        figure.supxlabel("shots", fontsize="medium")
        figure.supylabel("accuracy (%)", fontsize="medium")
        handles = [Line2D([], [], label=title, **look) for title, look in looks(titles).items()]
        handles += [Line2D([], [], color="0.4", label=role, **line) for role, line in LINES.items()]
        figure.legend(handles=handles, loc="outside upper center", ncols=fitting, frameon=False)
        return drawn(figure)


def episodes(accuracies: Mapping[tuple[str, int, str, str], np.ndarray]) -> dict[str, bytes]:
    """How the accuracies of single episodes are spread: a box a role, its line the median, whiskers from the 5th to the
    95th percentile; a row a shot, a column a data set.

    `accuracies` are in percent, of any shape, by dataset, shot, title and role, of which `FULL` and `HOLLOW` are
    drawn. Returns the bytes of an SVG and a PNG.
    """
    datasets, numbers, titles = (list(dict.fromkeys(key[i] for key in accuracies)) for i in range(3))
    with styled():
        figure, panels = _by_dataset(datasets, titles, 0.5, len(numbers))
        for axes, (shot, dataset) in zip(panels, product(numbers, datasets), strict=True):
            for row, (title, look) in enumerate(looks(titles).items()):
                for place, role in enumerate((FULL, HOLLOW)):
                    _box(axes, accuracies[dataset, shot, title, role], row + _offset(place, 2), look["color"], role)
            axes.set_title(f"{dataset}, {shot}-shot", fontsize="medium")
        figure.supxlabel("accuracy of an episode (%)", fontsize="medium")
        faces = {FULL: "0.7", HOLLOW: "white"}
        handles = [Patch(facecolor=face, edgecolor="0.3", label=role) for role, face in faces.items()]
        figure.legend(handles=handles, loc="outside upper center", ncols=2, frameon=False)
        return drawn(figure)


def _by_dataset(
    datasets: Sequence[str], titles: Sequence[str], row: float, rows: int, sharex: str = "none"
) -> tuple[Figure, np.ndarray]:
    """A figure and its panels, row by row: a column a data set; in each the `titles` one below the other, each `row`
    inches high."""
    names = 0.2 + 0.065 * max(map(len, titles))
    size = max(3.6, names + 2.6 * len(datasets)), 0.7 + rows * (0.6 + row * len(titles))
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    panels = figure.subplots(rows, len(datasets), sharex=sharex, sharey=True, squeeze=False)
    for axes in panels.flat:
        in_rows(axes, titles)
    return figure, panels.ravel()


def _offset(place: int, count: int) -> float:
    """How far the `place`-th of `count` things in a row of height 1 stands below its middle."""
    return (place - (count - 1) / 2) * 0.7 / count


def _box(axes: Axes, values: np.ndarray, y: float, colour: str, role: str) -> None:
    face = {"facecolor": colour, "alpha": 0.55} if role == FULL else {"facecolor": "white"}
    line = {"color": colour, "linewidth": 1.2}
    axes.boxplot(
        values.ravel(), positions=[y], widths=0.28, orientation="horizontal", whis=QUANTILES, showfliers=False,
        manage_ticks=False, patch_artist=True, boxprops={"edgecolor": colour} | face, whiskerprops=line, capprops=line,
        medianprops={"color": "black", "linewidth": 1.6},
    )  # fmt: skip
