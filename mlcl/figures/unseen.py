"""Classes that no method saw in training, as the methods see them: images, labels, and every level's representations.

They are those that the experiment evaluates: the novel ones or, with `evaluation.split: val`, the validation classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlcl import seeds
from mlcl.data.packed import Packed, Split
from mlcl.errors import UserError
from mlcl.features import Features, load, origin


class Unseen(NamedTuple):
    name: str
    """Of the split: test or val."""
    split: Split
    """N images."""
    features: dict[str, Features]
    """Of every method, by its title, N rows each."""


def read(data: Path, features: Sequence[Path], titles: Mapping[str, str]) -> Unseen:
    """A split of a packed data set with `features`, files <method>/<seed>/test.npy, or all val.npy, of any folder.

    `titles` are the methods' by name. Raises `UserError` where a file is none of these, unreadable, or of other data.
    """
    name = "val" if all(path.name == "val.npy" for path in features) else "test"
    packed, found = Packed(data), {}
    for path in features:
        method = path.parts[-3] if len(path.parts) >= 3 else ""
        if method not in titles or path.name != f"{name}.npy":
            raise UserError(f"{path}: is not .../METHOD/SEED/{name}.npy with a method of the experiment's")
        if titles[method] in found:
            raise UserError(f"{path}: is of {method} again; give the features of one seed a method")
        found[titles[method]] = load(path, origin(packed, name))
    return Unseen(name, packed.split(name), found)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors [n, D] at unit length, float32."""
    vectors = np.asarray(vectors, np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-12)


def rng(*path: str | int) -> np.random.Generator:
    """For the draw named by `path`: what a figure shows is the same for every method and experiment."""
    return np.random.default_rng(seeds.derive(0, "figures", *path))
