"""The ratios of all tables in one picture."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from mlcl.figures.style import COLOURS, drawn, styled

PANELS = {
    "evaluation": "600 episodes on frozen features, from drawing them to the interval",
    "losses": "the contrastive loss, forward and backward",
    "training": "a two-view training step, against PIL transforms in a DataLoader",
}
# What tells the cases of a table apart, and what follows its value in the picture.
NAMED = {
    "classifier": "", "encoder": "", "size": "", "shots": "shot", "images": "image", "levels": "level",
    "batch": "image", "threads": "thread", "peer": "",
}  # fmt: skip


def main(out: Path) -> None:
    tables = {name: pd.read_csv(path) for name in PANELS if (path := out / f"{name}.csv").exists()}
    rows = [len(table) for table in tables.values()]
    with styled():
        figure = Figure(figsize=(8, 0.22 * sum(rows) + 0.5 * len(rows) + 0.7), dpi=130, layout="constrained")
        panels = figure.subplots(len(tables), sharex=True, squeeze=False, height_ratios=rows)[:, 0]
        for axes, (name, table) in zip(panels, tables.items(), strict=True):
            axes.barh(range(len(table)), table["ratio"], color=COLOURS[0], height=0.7)
            targets = table["target"] if "target" in table else table["ratio"]
            if "target" in table:
                axes.plot(targets, range(len(table)), "|", color=COLOURS[1], markersize=11, markeredgewidth=2)
            for place, (ratio, target) in enumerate(zip(table["ratio"], targets, strict=True)):
                end = target if ratio < target < 1.3 * ratio else ratio  # beside the mark, not over it
                axes.text(end * 1.05, place, f"{ratio:g}", va="center", fontsize="small")
            axes.set_yticks(range(len(table)), [_case(row) for row in table.to_dict("records")], fontsize="small")
            axes.set_ylim(len(table) - 0.4, -0.6)
            axes.tick_params(axis="y", length=0)
            axes.grid(visible=False, axis="y")
            axes.axvline(1, color="0.3", linewidth=0.8)
            axes.set_title(PANELS[name], fontsize="medium")
        panels[-1].set_xscale("log")
        panels[-1].set_xticks([1, 2, 5, 10, 20, 50])
        panels[-1].xaxis.set_major_formatter(ScalarFormatter())
        what = "times as fast as the peer, on the same machine; the upright marks are targets"
        figure.supxlabel(what, fontsize="medium")
        (out / "side-by-side.png").write_bytes(drawn(figure)["png"])


def _case(row: dict) -> str:
    """As nearest centroid, 1 shot, 2 threads: easyfsl."""
    *what, last = (_counted(row[key], unit) for key, unit in NAMED.items() if key in row)
    return f"{', '.join(what)}: {last}" if "peer" in row else ", ".join([*what, last])


def _counted(value: object, unit: str) -> str:
    plural = str(value).isdigit() and str(value) != "1"
    return f"{value} {unit}{'s' if unit and plural else ''}".strip()
