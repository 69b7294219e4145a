"""The representations of every level, as memory-mapped arrays."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
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
    model: str | None = None
    """SHA-256 of the encoder's file; None where it was not recorded."""

    @property
    def levels(self) -> list[np.ndarray]:
        """One view [N, D_l] a level."""
        return np.split(self.vectors, np.cumsum(self.dims)[:-1], axis=1)


def layout(dims: Sequence[int], model: str) -> np.dtype:
    """How a file has an image: a field a level, the first with the checksum of the encoder for its title."""
    (first, *others) = ((f"level{number}", np.float16, (dim,)) for number, dim in enumerate(dims, start=1))
    return np.dtype([((model, first[0]), *first[1:]), *others])


def load(path: Path) -> Features:
    """The features of a split in float16, memory-mapped. Raises `UserError` where the file is missing or damaged."""
    try:
        records = np.load(path, mmap_mode="c")  # as writable as torch asks for; the file is never written
        dims = [records.dtype[level].shape[0] for level in records.dtype.names]
        _, _, *model = records.dtype.fields[records.dtype.names[0]]
        return Features(records.view(np.float16).reshape(len(records), sum(dims)), dims, *model)
    except (OSError, EOFError, ValueError, TypeError, IndexError, AttributeError, zipfile.BadZipFile) as error:
        maker = "copies" if path.stem == "copies" else "features"
        raise UserError(f"{path}: holds no readable features ({error}); make them with 'mlcl {maker}'") from error
