"""The packed form of a data set: one memory-mapped array of images, whatever the source.

images.npy      uint8 [N, H, W, C], sorted by class
labels.npy      int64 [N], row numbers of classes.csv
classes.csv     class, superclass, split (train, val or test), count
manifest.json   what it was made from, checksums, and the training split's channel statistics; written last
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlcl.errors import UserError
from mlcl.files import replacing

SPLITS = ("train", "val", "test")
FILES = ("images.npy", "labels.npy", "classes.csv")


@dataclass(frozen=True)
class Class:
    name: str
    superclass: str
    split: str
    count: int
    """Images of the class."""


@dataclass(frozen=True)
class Source:
    """A data set before packing.

    `images()` yields one uint8 array [H, W, C] an image, class after class in the order of `classes`,
    `count` images each.
    """

    classes: list[Class]
    shape: tuple[int, int, int]
    images: Callable[[], Iterator[np.ndarray]]
    flip: bool
    """Whether an image and its mirror image show the same class."""
    provenance: dict[str, Any]
    """Goes into the manifest: what the images were made from, in a form that does not depend on the machine."""


def pack(source: Source, folder: Path) -> None:
    """Write `source` into `folder` in constant memory; what was there is replaced only once all is written.

    Raises ValueError where the source gives more or fewer images than its classes count.
    """
    folder.mkdir(parents=True, exist_ok=True)
    counts = np.array([c.count for c in source.classes])
    labels = np.repeat(np.arange(len(counts)), counts)
    in_train = np.repeat([c.split == "train" for c in source.classes], counts)
    moments = np.zeros((2, source.shape[2]))
    with replacing(*(folder / name for name in FILES), folder / "manifest.json") as temporary:
        images_file, labels_file, classes_file, manifest_file = temporary
        images = np.lib.format.open_memmap(images_file, "w+", np.uint8, (len(labels), *source.shape))
        for i, image in zip(range(len(labels)), source.images(), strict=True):
            images[i] = image
            if in_train[i]:
                pixels = image.reshape(-1, image.shape[-1]) / 255.0
                moments += pixels.mean(0), (pixels**2).mean(0)
        images.flush()
        with open(labels_file, "wb") as file:
            np.save(file, labels)
        pd.DataFrame([vars(c) for c in source.classes]).rename(columns={"name": "class"}).to_csv(
            classes_file, index=False
        )
        mean, square = moments / in_train.sum()
        manifest = {
            **source.provenance,
            "images": len(labels),
            "splits": {split: _size([c for c in source.classes if c.split == split]) for split in SPLITS},
            "shape": source.shape,
            "flip": source.flip,
            "mean": mean.round(6).tolist(),
            "std": np.sqrt(square - mean**2).round(6).tolist(),
            "sha256": {name: _sha256(path) for name, path in zip(FILES, temporary, strict=False)},
        }
        manifest_file.write_text(json.dumps(manifest, indent=2) + "\n")


@dataclass(frozen=True)
class Split:
    """The images of one split, still on disk."""

    images: np.ndarray
    """uint8 [N, H, W, C], memory-mapped."""
    labels: np.ndarray
    """int64 [N], counted from 0 within the split, ascending."""
    classes: list[str]


class Packed:
    """A packed data set, read through memory maps. Raises `UserError` where the folder holds none."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        try:
            self.manifest = json.loads((self.folder / "manifest.json").read_text())
        except (OSError, ValueError) as error:
            raise UserError(f"{self.folder}: holds no packed data set; make it with 'mlcl data'") from error
        self.classes = pd.read_csv(self.folder / "classes.csv", keep_default_na=False)

    @cached_property
    def images(self) -> np.ndarray:
        return np.load(self.folder / "images.npy", mmap_mode="r")

    @cached_property
    def labels(self) -> np.ndarray:
        return np.load(self.folder / "labels.npy")

    def split(self, name: str) -> Split:
        """Classes of a split lie together, so a split is a slice and costs no copy."""
        rows = np.flatnonzero(self.classes["split"] == name)
        inside = np.flatnonzero(np.isin(self.labels, rows))
        span = slice(inside[0], inside[-1] + 1)
        return Split(self.images[span], self.labels[span] - rows[0], self.classes["class"].iloc[rows].tolist())


def _size(classes: list[Class]) -> dict[str, int]:
    return {"classes": len(classes), "smallest_class": min((c.count for c in classes), default=0)}


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
