"""A packed data set as pictures, a contact sheet and how large its classes are, and as facts, for a data card."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image, ImageDraw

from mlcl.data.catalogue import PUBLIC
from mlcl.data.glyphs import Face
from mlcl.data.images import resize
from mlcl.data.packed import SPLITS, Packed
from mlcl.data.twins import twins
from mlcl.files import replacing

ROWS, COLUMNS = 12, 10  # classes shown of each split, images of each class
TITLES = {"train": "base (train)", "val": "validation", "test": "novel (test)"}
LARGEST = 48  # pixels that an image's side takes on the sheet, so that a page can hold it
GAP, MARGIN = 2, 18
FEW = 12  # numbers of images a class that get a bar each
LETTERS, NAMES = 16, 104  # of a class's name, and the pixels that they take


class Origin(NamedTuple):
    licence: str
    citation: str


# What the catalogue of downloads does not have.
OWN = {
    "glyphs": Origin(
        "drawn by this package, MIT, from typefaces that matplotlib distributes: DejaVu (Bitstream Vera's licence) and "
        "STIX (SIL Open Font License)",
        "this package, see CITATION.cff",
    ),
    "folder": Origin("that of your own images", "your own images"),
}
UNKNOWN = Origin("unknown", "unknown")


def show(folder: Path, out: Path) -> None:
    """Write out/sheet.png, out/classes.png and out/data.json; says so where images of the test split are in others too.

    Raises `UserError` where the folder holds no packed data set.
    """
    packed = Packed(folder)
    known = facts(packed)
    if novel := known["equal"]["novel"]:
        print(
            f"{folder}: {novel} groups of equal images are in the test split and another; "
            f"'mlcl data verify {folder}' names some, remove them and pack it again",
            file=sys.stderr,
            flush=True,
        )
    files = [out / name for name in ("sheet.png", "classes.png", "data.json")]
    with replacing(*files) as (sheet_file, classes_file, facts_file):
        sheet(packed).save(sheet_file, format="png", optimize=True)
        histograms(packed).savefig(classes_file, format="png", metadata={"Software": None})
        facts_file.write_text(json.dumps(known, indent=2, ensure_ascii=False) + "\n")


def facts(packed: Packed) -> dict[str, Any]:
    """Name, source, licence, citation, counts of each split's classes and images, image size, groups of equal images
    and checksums.

    `image` is [H, W, C]; `equal` as in `Twins`; `sha256` is of the files of the packed form.
    """
    source = packed.source
    known = PUBLIC.get(source) or OWN.get(source, UNKNOWN)
    counts = packed.classes.groupby("split")["count"].agg(["size", "sum"])
    return {
        "name": packed.folder.resolve().name,
        "source": source,
        "licence": known.licence,
        "citation": known.citation,
        "splits": {
            name: {"classes": int(counts["size"].get(name, 0)), "images": int(counts["sum"].get(name, 0))}
            for name in SPLITS
        },
        "image": list(packed.images.shape[1:]),
        "equal": {kind: len(groups) for kind, groups in twins(packed)._asdict().items()},
        "sha256": packed.manifest["sha256"],
    }


def sheet(packed: Packed) -> Image.Image:
    """A row a class, its name behind it, some of each split; the splits lie side by side, each under its name."""
    side, font = min(packed.images.shape[1], LARGEST), Face.load("DejaVuSans", 11).font
    panels = []
    for name in SPLITS:
        split = packed.split(name)
        shown = np.linspace(0, len(split.classes) - 1, min(ROWS, len(split.classes))).astype(int)
        panel = Image.new("RGB", (COLUMNS * (side + GAP) + NAMES, MARGIN + ROWS * (side + GAP)), "white")
        pen = ImageDraw.Draw(panel)
        pen.font = font
        pen.text((2, 3), f"{TITLES[name]}: {len(split.classes)} classes", fill="black")
        for row, label in enumerate(shown):
            middle = MARGIN + row * (side + GAP) + side // 2
            called = split.classes[label]
            called = called if len(called) <= LETTERS else f"…{called[1 - LETTERS :]}"
            pen.text((COLUMNS * (side + GAP) + 4, middle), called, fill="black", anchor="lm")
            for column, place in enumerate(np.flatnonzero(split.labels == label)[:COLUMNS]):
                picture = Image.fromarray(resize(split.images[place], side).squeeze())
                panel.paste(picture, (column * (side + GAP), MARGIN + row * (side + GAP)))
        panels.append(panel)
    whole = Image.new("RGB", (sum(p.width + 4 * GAP for p in panels), panels[0].height), "white")
    left = 0
    for panel in panels:
        whole.paste(panel, (left, 0))
        left += panel.width + 4 * GAP
    return whole.quantize(256)


def histograms(packed: Packed) -> Figure:
    """How many classes have how many images, split by split."""
    figure = Figure(figsize=(9, 2.8), dpi=120, layout="constrained")
    for axes, name in zip(figure.subplots(1, len(SPLITS)), SPLITS, strict=True):
        counts = packed.classes.loc[packed.classes["split"] == name, "count"]
        if counts.nunique() <= FEW:
            found = counts.value_counts().sort_index()
            axes.bar(found.index.astype(str), found, width=0.6, color="#0072B2")
            axes.set_xlim(-1, len(found))
        else:
            axes.hist(counts, bins=20, color="#0072B2")
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_title(f"{TITLES[name]}: {len(counts)} classes, {counts.sum():,} images", fontsize=9)
        axes.set_xlabel("images a class", fontsize=9)
        axes.tick_params(labelsize=9)
    figure.supylabel("classes", fontsize=9)
    return figure
