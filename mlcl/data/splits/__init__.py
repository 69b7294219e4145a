"""The class splits as they were published, one csv each: class, superclass, split."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from mlcl.data.pack import Class
from mlcl.data.packed import SPLITS
from mlcl.errors import UserError


def published(name: str) -> list[Class]:
    """The classes of a data set: train before val before test, and by name within a split."""
    table = pd.read_csv(Path(__file__).with_name(f"{name}.csv"), dtype=str, keep_default_na=False)
    classes = [Class(row["class"], row["superclass"], row["split"]) for _, row in table.iterrows()]
    return sorted(classes, key=lambda c: (SPLITS.index(c.split), c.name))


def check(where: object, split: str, found: Iterable[str], classes: list[Class]) -> None:
    """Raise `UserError`, naming `where`, unless the classes `found` there are those of the published split."""
    found, splits = set(found), {c.name: c.split for c in classes}
    for name in sorted(found):
        if splits.get(name) != split:
            place = f"in {splits[name]}" if name in splits else "nowhere"
            raise UserError(f"{where}: has class {name} in {split}, the published split {place}; take it as published")
    for name in sorted(name for name in splits if splits[name] == split and name not in found):
        raise UserError(f"{where}: lacks class {name} of {split}; take it as published")
