"""What is done to features before they are scaled to unit length, which `solve.Bank` does to all.

Centring by the base classes' mean is SimpleShot's CL2N (Wang et al. 2019); the square root that of PT-MAP's power
transform with exponent 1/2 (Hu et al. 2021), here with its sign, since a leaky ReLU leaves numbers below zero.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mlcl.features import Features

BLOCK = 4096  # images at a time


def process(features: Features, name: str, base: Features | None = None) -> Features:
    """The features by one of `config.Processing`, in float16 as they came; `base` is of the base classes' images.

    `l2` gives them back as they are: scaling to unit length is all it stands for.
    """
    if name == "l2":
        return features
    mean = _mean(base, name) if name.endswith("centre") else np.float32(0)
    out = np.empty(features.vectors.shape, np.float16)
    for start, block in _blocks(features, name):
        out[start : start + len(block)] = block - mean
    return features._replace(vectors=out)


def _mean(base: Features, name: str) -> np.ndarray:
    """[D_1 + D_2 + ...]: over the images, once the power is taken."""
    total = sum(block.sum(0, dtype=np.float64) for _, block in _blocks(base, name))
    return (total / len(base.vectors)).astype(np.float32)


def _blocks(features: Features, name: str) -> Iterator[tuple[int, np.ndarray]]:
    """Some images at a time, in float32, each with its place: all at once may be more than memory holds."""
    for start in range(0, len(features.vectors), BLOCK):
        block = features.vectors[start : start + BLOCK].astype(np.float32)
        yield start, np.copysign(np.sqrt(np.abs(block)), block) if name.startswith("power") else block
