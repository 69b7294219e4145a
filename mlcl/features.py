"""The representations of every level, as memory-mapped arrays."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlcl.data.packed import Packed
from mlcl.errors import UserError


class Features(NamedTuple):
    """The representations of a split's images. What was not recorded of them is empty."""

    vectors: np.ndarray
    """[N, D_1 + D_2 + ...]: an image's levels lie end to end, so that an episode reads an image in one place."""
    dims: list[int]
    """D_l of every level, first to last."""
    origin: Mapping[str, Any] = {}
    """Which images they are, as `origin` has it."""
    made_by: Mapping[str, str] = {}
    """`model`: SHA-256 of the encoder's file; `extract`: the fingerprint of the code; `precision`."""

    @property
    def levels(self) -> list[np.ndarray]:
        """One view [N, D_l] a level."""
        return np.split(self.vectors, np.cumsum(self.dims)[:-1], axis=1)


def origin(packed: Packed, split: str, copies: int = 0, seed: int = 0) -> dict[str, Any]:
    """What tells the images of a split from others; with `copies`, augmented copies of each, drawn from `seed`."""
    return {"data": packed.identity, "split": split} | ({"copies": copies, "seed": seed} if copies else {})


def layout(dims: Sequence[int], of: Mapping[str, Any], made_by: Mapping[str, str]) -> np.dtype:
    """How a file has an image: a field a level. The first has for its title what the file is of, and made by."""
    about = json.dumps({"origin": of, "made_by": made_by}, sort_keys=True)
    (first, *others) = ((f"level{number}", np.float16, (dim,)) for number, dim in enumerate(dims, start=1))
    return np.dtype([((about, first[0]), *first[1:]), *others])


def load(path: Path, of: Mapping[str, Any] | None = None) -> Features:
    """The features in float16, memory-mapped.

    Raises `UserError` where the file is missing or damaged, or not of the images `of`, if given.
    """
    maker = "copies" if path.stem == "copies" else "features"
    try:
        records = np.load(path, mmap_mode="c")  # as writable as torch asks for; the file is never written
        dims = [records.dtype[level].shape[0] for level in records.dtype.names]
        _, _, *title = records.dtype.fields[records.dtype.names[0]]
        about = json.loads(title[0]) if title else {"origin": {}, "made_by": {}}
        found = Features(records.view(np.float16).reshape(len(records), sum(dims)), dims, **about)
    except (OSError, EOFError, ValueError, TypeError, IndexError, AttributeError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: holds no readable features ({error}); make them with 'mlcl {maker}'") from error
    for key, value in (of or {}).items():
        if found.origin.get(key) != value:
            other = "is of other data" if key == "data" else f"is of {key} {found.origin.get(key)}, not {value}"
            if not found.origin:
                other = "does not say of which images it is"
            raise UserError(f"{path}: {other}; make it again with 'mlcl {maker}'")
    return found
