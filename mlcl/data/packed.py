"""The packed form of a data set: one memory-mapped array of images, whatever the source.

    images.npy        uint8 [N, H, W, C], sorted by class
    labels.npy        int64 [N], row numbers of classes.csv
    classes.csv       class, superclass, split (train, val or test), count
    origins.parquet   N rows: the file that each image was read from, and its place in it
    manifest.json     what it was made from, checksums, and the training split's channel statistics; written last

A split's classes lie together, train before val before test, so that a split is a slice.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from mlcl.errors import UserError

SPLITS = ("train", "val", "test")
COLUMNS = ["class", "superclass", "split", "count"]
FACTS = {"dataset", "splits", "shape", "flip", "mean", "std", "sha256"}
FILES = ("images.npy", "labels.npy", "classes.csv", "origins.parquet")


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
            # A class may be called nan, or 007.
            self.classes = pd.read_csv(self.folder / "classes.csv", keep_default_na=False, dtype={"class": str})
            self.images = np.load(self.folder / "images.npy", mmap_mode="r")
            self.labels = np.load(self.folder / "labels.npy")
            if not isinstance(self.manifest, dict) or not self.manifest.keys() >= FACTS:
                raise ValueError("the manifest lacks some of its entries")
            if self.classes.columns.tolist() != COLUMNS:
                raise ValueError("the table of classes lacks some of its columns")
        except (OSError, ValueError, EOFError) as error:
            raise UserError(
                f"{self.folder}: holds no packed data set, or not all of it; make it with 'mlcl data'"
            ) from error

    @cached_property
    def origins(self) -> pd.DataFrame:
        return pd.read_parquet(self.folder / "origins.parquet")

    @property
    def identity(self) -> dict[str, str]:
        """SHA-256 of the files by which data are told apart."""
        return identity(self.manifest["sha256"])

    @property
    def source(self) -> str:
        return self.manifest["dataset"]["source"]

    def novel_among(self, base_classes: Iterable[str]) -> list[str]:
        """Those of an encoder's base classes that these data validate or test on."""
        return sorted(set(base_classes) & set(self.classes.loc[self.classes["split"] != "train", "class"]))

    def split(self, name: str) -> Split:
        """Classes of a split lie together, so a split is a slice and costs no copy."""
        rows = np.flatnonzero(self.classes["split"] == name)
        inside = np.flatnonzero(np.isin(self.labels, rows))
        span = slice(inside[0], inside[-1] + 1)
        return Split(self.images[span], self.labels[span] - rows[0], self.classes["class"].iloc[rows].tolist())


def identity(checksums: Mapping[str, str]) -> dict[str, str]:
    """Without that of the origins, in which a version of parquet writes other bytes than the next."""
    return {name: checksum for name, checksum in checksums.items() if name != "origins.parquet"}
