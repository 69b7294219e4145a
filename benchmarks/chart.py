"""The ratios of all tables in one picture."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import pandas as pd

mpl.use("Agg")
from matplotlib import pyplot as plt

# What tells the cases of a table apart, and what follows its value in the picture.
NAMED = {
    "classifier": "", "encoder": "", "size": "", "shots": "shot", "images": "images", "levels": "levels",
    "batch": "a batch", "threads": "threads", "peer": "",
}  # fmt: skip


def main(out: Path) -> None:
    cases = []
    for name in ("evaluation", "losses", "training"):
        if not (out / f"{name}.csv").exists():
            continue
        for row in pd.read_csv(out / f"{name}.csv").to_dict("records"):
            what = [f"{row[key]} {unit}".strip() for key, unit in NAMED.items() if key in row]
            cases.append((", ".join(what), row["ratio"], row.get("target")))
    figure, axes = plt.subplots(figsize=(9, 0.28 * len(cases) + 1.2), layout="constrained")
    axes.barh(range(len(cases)), [ratio for _, ratio, _ in cases], color="#0072b2", height=0.7)
    axes.plot(
        [target for *_, target in cases],
        range(len(cases)),
        "|",
        color="#d55e00",
        markersize=12,
        markeredgewidth=2,
        label="target",
    )
    for place, (_, ratio, _) in enumerate(cases):
        axes.text(ratio * 1.06, place, f"{ratio:g}", va="center", fontsize=8)
    axes.axvline(1, color="0.3", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yticks(range(len(cases)), [name for name, *_ in cases], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("times as fast as the peer, on the same machine")
    axes.set_title("Side by side")
    axes.legend(loc="lower right", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(out / "side-by-side.png", dpi=130)
