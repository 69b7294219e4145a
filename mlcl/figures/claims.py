"""A difference in several experiments, below each other."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mlcl.figures.style import drawn, in_rows, legend_shape, looks, styled

ROW = 0.2  # inches a line
LINE = ["dataset", "experiment", "single", "multi"]


def draw(rows: pd.DataFrame, difference: str) -> dict[str, bytes]:
    """A panel a number of shots, a line for each `LINE`, in the order of `rows`, below the name of its data set.

    `rows` also has encoder, epochs, loss, shot, difference and ci95 in points of accuracy, ci95_over_seeds (NaN: one
    seed) and verdict; what is "open" is drawn hollow. The thick line is the interval over the episodes, the thin one
    that over the seeds. `difference` says what is drawn. Returns the bytes of an SVG and a PNG.
    """
    shots, losses = sorted(rows["shot"].unique()), looks(sorted(rows["loss"].unique()))
    lines = _lines(rows)
    places = {line: place for place, line in enumerate(lines)}
    width, fitting, above = legend_shape(list(losses), 3.4 + 2.6 * len(shots))
    with styled():
        figure = Figure(figsize=(width, 0.8 + above + ROW * len(lines)), dpi=150, layout="constrained")
        panels = figure.subplots(1, len(shots), sharex=True, sharey=True, squeeze=False)[0]
        for axes, shot in zip(panels, shots, strict=True):
            for row in rows[rows["shot"] == shot].to_dict("records"):
                place, look = places[tuple(row[key] for key in LINE)], losses[row["loss"]]
                hollow = {"markerfacecolor": "white"} if row["verdict"] == "open" else {}
                line = {"xerr": np.nan_to_num(row["ci95_over_seeds"]), "elinewidth": 0.8, "fmt": "none"}
                axes.errorbar(row["difference"], place, ecolor=look["color"], **line)
                style = look | hollow | {"markersize": 4.5, "elinewidth": 2.2}
                axes.errorbar(row["difference"], place, xerr=row["ci95"], **style)
            axes.axvline(0, color="0.4", linewidth=0.8)
            axes.set_title(f"{shot}-shot", fontsize="medium")
            in_rows(axes, list(lines.values()), above=0.7)
        for text, line in zip(panels[0].get_yticklabels(), lines, strict=True):
            text.set_weight("normal" if line[1:] else "bold")
        figure.supxlabel(difference, fontsize="medium")
        handles = [Line2D([], [], label=loss, linestyle="none", **look) for loss, look in losses.items()]
        figure.legend(handles=handles, loc="outside upper center", ncols=fitting, frameon=False)
        return drawn(figure)


def _lines(rows: pd.DataFrame) -> dict[tuple[str, ...], str]:
    """What to write beside every line; each data set is one, above its own."""
    lines: dict[tuple[str, ...], str] = {}
    for row in rows.drop_duplicates(LINE).to_dict("records"):
        lines.setdefault((row["dataset"],), row["dataset"])
        lines[tuple(row[key] for key in LINE)] = f"{row['experiment']}: {row['encoder']}, {row['epochs']} epochs"
    return lines
