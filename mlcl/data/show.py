"""A packed data set as pictures: a contact sheet, and how large its classes are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from mlcl.data.packed import SPLITS, Packed
from mlcl.files import replacing

ROWS, COLUMNS = 12, 10  # classes shown of each split, images of each class
TITLES = {"train": "base (train)", "val": "validation", "test": "novel (test)"}
GAP, MARGIN = 2, 18


def show(folder: Path, out: Path) -> None:
    """Write out/sheet.png and out/classes.png. Raises `UserError` where the folder holds no packed data set."""
    packed = Packed(folder)
    with replacing(out / "sheet.png", out / "classes.png") as (sheet_file, classes_file):
        sheet(packed).save(sheet_file, format="png")
        histograms(packed).savefig(classes_file, format="png", metadata={"Software": None})


def sheet(packed: Packed) -> Image.Image:
    """A row a class, some classes of each split; the splits lie side by side, each under its name."""
    side = packed.images.shape[1]
    panels = []
    for name in SPLITS:
        split = packed.split(name)
        shown = np.linspace(0, len(split.classes) - 1, min(ROWS, len(split.classes))).astype(int)
        panel = Image.new("RGB", (COLUMNS * (side + GAP), MARGIN + ROWS * (side + GAP)), "white")
        ImageDraw.Draw(panel).text((2, 3), f"{TITLES[name]}: {len(split.classes)} classes", fill="black")
        for row, label in enumerate(shown):
            for column, place in enumerate(np.flatnonzero(split.labels == label)[:COLUMNS]):
                picture = Image.fromarray(split.images[place].squeeze())
                panel.paste(picture, (column * (side + GAP), MARGIN + row * (side + GAP)))
        panels.append(panel)
    whole = Image.new("RGB", (sum(p.width + 4 * GAP for p in panels), panels[0].height), "white")
    left = 0
    for panel in panels:
        whole.paste(panel, (left, 0))
        left += panel.width + 4 * GAP
    return whole


def histograms(packed: Packed) -> Figure:
    """How many classes have how many images, split by split."""
    figure = Figure(figsize=(9, 2.8), dpi=120, layout="constrained")
    for axes, name in zip(figure.subplots(1, len(SPLITS)), SPLITS, strict=True):
        counts = packed.classes.loc[packed.classes["split"] == name, "count"]
        axes.hist(
            counts, bins=20 if counts.nunique() > 1 else [counts.min() - 0.5, counts.min() + 0.5], color="#0072B2"
        )
        axes.set(title=f"{TITLES[name]}: {len(counts)} classes, {counts.sum():,} images", xlabel="images a class")
        axes.title.set_fontsize(9)
    figure.supylabel("classes", fontsize=9)
    return figure
