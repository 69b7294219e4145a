"""Novel classes as the methods see them: images, labels, and the representations of every level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlcl import seeds
from mlcl.data.packed import Packed, Split
from mlcl.errors import UserError
from mlcl.features import Features, load


class Novel(NamedTuple):
    split: Split
    """The test split, N images."""
    features: dict[str, Features]
    """Of every method, by its title, N rows each."""


def read(data: Path, features: Sequence[Path], titles: Mapping[str, str]) -> Novel:
    """The novel classes of a packed data set with `features`, files <method>/<seed>/test.npy of any folder.

    `titles` are the methods' by name. Raises `UserError` where a file is none of these, unreadable, or of other data.
    """
    split, found = Packed(data).split("test"), {}
    for path in features:
        method = path.parts[-3] if len(path.parts) >= 3 else ""
        if method not in titles:
            raise UserError(f"{path}: is not .../METHOD/SEED/test.npy with a method of the experiment's")
        found[titles[method]] = load(path)
        if len(found[titles[method]].vectors) != len(split.labels):
            raise UserError(
                f"{path}: has {len(found[titles[method]].vectors)} images, where {data} has {len(split.labels)} novel "
                "ones; run mlcl features again"
            )
    return Novel(split, found)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors [n, D] at unit length, float32."""
    vectors = np.asarray(vectors, np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-12)


def rng(*path: str | int) -> np.random.Generator:
    """For the draw named by `path`: what a figure shows is the same for every method and experiment."""
    return np.random.default_rng(seeds.derive(0, "figures", *path))
