"""mini-ImageNet: a folder `images/` and the class split of Ravi and Larochelle (2017) as train, val and test.csv."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, UnidentifiedImageError

from mlcl import config
from mlcl.data.packed import SPLITS, Class, Source
from mlcl.errors import UserError
from mlcl.progress import Progress

CLASSES = {"train": 64, "val": 16, "test": 20}
IMAGES = 600


def source(spec: config.MiniImagenet, root: Path) -> Source:
    """Check the folder's splits and give its images at the size asked for, RGB.

    Raises `UserError` where a file is missing, a csv is not as published, or a class is in two splits.
    """
    folder = root / spec.path
    if not (folder / "images").is_dir():
        raise UserError(f"{folder}/images: is missing; put mini-ImageNet there, or set the data set's path")
    table = pd.concat([_read_split(folder, split) for split in SPLITS])
    owners = table.groupby("label")["split"].nunique()
    if (owners > 1).any():
        raise UserError(f"{folder}: class {owners.idxmax()} is in more than one split; take the csv files as published")
    table = table.sort_values(["order", "label", "filename"], kind="stable")
    names = set(path.name for path in (folder / "images").iterdir())
    for row in table.itertuples():
        if row.filename not in names:
            raise UserError(f"{folder}/{row.split}.csv: names {row.filename}, which is not in images/; add the image")
    classes = [
        Class(label, superclass="", split=split, count=count)
        for (_, split, label), count in table.groupby(["order", "split", "label"]).size().items()
    ]

    def images() -> Iterator[np.ndarray]:
        with Progress(str(folder), len(table), "images") as progress:
            for name in table["filename"]:
                yield _read_image(folder / "images" / name, spec.size)
                progress.advance(1)

    provenance = {"dataset": spec.model_dump(exclude={"path"}), "split": "Ravi and Larochelle 2017"}
    return Source(classes, (spec.size, spec.size, 3), images, flip=True, provenance=provenance)


def _read_split(folder: Path, split: str) -> pd.DataFrame:
    path = folder / f"{split}.csv"
    try:
        table = pd.read_csv(path, dtype=str)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); it needs the columns filename, label") from error
    if list(table.columns) != ["filename", "label"]:
        raise UserError(f"{path}: has the columns {', '.join(table.columns)}; it needs filename, label")
    counts = table["label"].value_counts()
    if len(counts) != CLASSES[split] or (counts != IMAGES).any() or table["filename"].duplicated().any():
        raise UserError(
            f"{path}: has {len(counts)} classes of {counts.min()} to {counts.max()} images; "
            f"the split has {CLASSES[split]} classes of {IMAGES} different ones: take it as published"
        )
    return table.assign(split=split, order=SPLITS.index(split))


def _read_image(path: Path, size: int) -> np.ndarray:
    """uint8 [size, size, 3]; resized by averaging over areas where it shrinks."""
    try:
        with Image.open(path) as image:
            rgb = image.convert("RGB")
    except (OSError, UnidentifiedImageError) as error:
        raise UserError(f"{path}: cannot be read as an image ({error}); replace it with an intact copy") from error
    if rgb.size != (size, size):
        rgb = rgb.resize((size, size), Image.Resampling.BOX if min(rgb.size) >= size else Image.Resampling.BICUBIC)
    return np.asarray(rgb)
