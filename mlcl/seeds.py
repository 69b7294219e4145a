"""Every random draw comes from the config's seed by a path of its own, so that no draw depends on another."""

from __future__ import annotations

import zlib

import numpy as np
import torch


def derive(seed: int, *path: str | int) -> int:
    """A seed below 2**63 for the draw named by `path`, such as ("order", epoch)."""
    words = [zlib.crc32(step.encode()) if isinstance(step, str) else step for step in path]
    return int(np.random.SeedSequence([seed, *words]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def generator(seed: int, *path: str | int) -> torch.Generator:
    """A CPU generator for the draws named by `path`: the same numbers whatever the device."""
    return torch.Generator().manual_seed(derive(seed, *path))
