"""The representations of every level, as memory-mapped arrays."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlcl.errors import UserError


class Features(NamedTuple):
    """The representations of a split's images."""

    vectors: np.ndarray
    """[N, D_1 + D_2 + ...]: an image's levels lie end to end, so that an episode reads an image in one place."""
    dims: list[int]
    """D_l of every level, first to last."""

    @property
    def levels(self) -> list[np.ndarray]:
        """One view [N, D_l] a level."""
        return np.split(self.vectors, np.cumsum(self.dims)[:-1], axis=1)


def load(path: Path) -> Features:
    """The features of a split in float16, memory-mapped. Raises `UserError` where the file is missing or damaged."""
    try:
        records = np.load(path, mmap_mode="c")  # as writable as torch asks for; the file is never written
        dims = [records.dtype[level].shape[0] for level in records.dtype.names]
        return Features(records.view(np.float16).reshape(len(records), sum(dims)), dims)
    except (OSError, EOFError, ValueError, TypeError, IndexError, AttributeError, zipfile.BadZipFile) as error:
        maker = "copies" if path.stem == "copies" else "features"
        raise UserError(f"{path}: holds no readable features ({error}); make them with 'mlcl {maker}'") from error
