"""Is a packed data set what it should be? Counts, splits, published classes, duplicates, overlap with others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from mlcl.data import splits
from mlcl.data.catalogue import IMAGENET
from mlcl.data.naming import comparable, in_wordnet
from mlcl.data.packed import FILES, SPLITS, Packed
from mlcl.data.twins import Group, twins
from mlcl.errors import UserError
from mlcl.files import sha256

# Sources with a published split; the second kind splits by super-class.
PUBLISHED = ("mini-imagenet", "tiered-imagenet", "cifar-fs", "fc100")
BY_SUPERCLASS = ("tiered-imagenet", "fc100")


class Check(NamedTuple):
    name: str
    passed: bool
    found: str


def verify(folder: Path, others: list[Path]) -> list[Check]:
    """Check a packed data set, and its classes against those of `others`, packed too. Raises `UserError` for none.

    Where images, labels and classes do not belong together, that is all that is looked at.
    """
    packed = Packed(folder)
    files = [*_files(packed)]
    if not files[-1].passed:
        return files
    return [*files, *_classes(packed), *_duplicates(packed), *_overlaps(packed, others)]


def _files(packed: Packed) -> Iterator[Check]:
    missing = [name for name in FILES if not (packed.folder / name).exists()]
    checksums = packed.manifest["sha256"]
    wrong = [name for name in FILES if name not in missing and sha256(packed.folder / name) != checksums.get(name)]
    found = [f"{name} is missing" for name in missing] + wrong
    yield Check("files have the manifest's checksums", not found, ", ".join(found) or f"{len(FILES)} files")
    counts = pd.Series(packed.labels.ravel()).value_counts()  # of damaged labels any number
    known = counts.reindex(range(len(packed.classes)), fill_value=0)
    right = np.array_equal(known, packed.classes["count"]) and known.sum() == len(packed.labels) == len(packed.images)
    yield Check("as many images as the classes count", right, f"{len(packed.images):,} images")


def _classes(packed: Packed) -> Iterator[Check]:
    table = packed.classes
    for split in SPLITS:
        counts = table.loc[table["split"] == split, "count"]
        each = f"{counts.min()} to {counts.max()}" if len(counts) else "no"
        filled = len(counts) > 0 and counts.min() > 0
        yield Check(f"{split} has classes", filled, f"{len(counts)} classes of {each} images")
    repeated = table["class"][table["class"].duplicated()].tolist()
    more = f" and {len(repeated) - 3} more" if len(repeated) > 3 else ""
    found = f"{', '.join(repeated[:3])}{more}" if repeated else "none"
    source = packed.source
    in_words = source in IMAGENET and not in_wordnet(table["class"])  # two classes may be called crane
    said = f"unknown: the files name classes in words, and repeat {found}" if repeated and in_words else found
    yield Check("no class in two splits", in_words or not repeated, said)
    if source in BY_SUPERCLASS:
        splits_of = table.groupby("superclass")["split"].nunique()
        shared = splits_of[splits_of > 1].index.tolist()
        unnamed = set(splits_of.index) == {""}  # as tiered-ImageNet's npz files leave them
        said = "the files name none" if unnamed else ", ".join(shared) or f"{len(splits_of)} super-classes"
        yield Check("no super-class in two splits", unnamed or not shared, said)
    if source in PUBLISHED:
        yield Check("classes and splits as published", *_as_published(table, source))


def _as_published(table: pd.DataFrame, source: str) -> tuple[bool, str]:
    published = splits.published(source)
    if source == "tiered-imagenet" and not {c.name for c in published} & set(table["class"]):
        same = table["split"].value_counts().to_dict() == Counter(c.split for c in published)
        return same, f"{len(table)} classes, by their number in each split: the files have no WordNet names"
    try:
        for split in SPLITS:
            splits.check("it", split, table.loc[table["split"] == split, "class"], published)
    except UserError as error:
        return False, str(error)
    return True, f"{len(table)} classes"


def _duplicates(packed: Packed) -> Iterator[Check]:
    """Across splits they leak, within one they are noted."""
    novel, across, within = twins(packed)
    yield Check("no test image in another split", not novel, _named(packed, f"{len(novel)} groups", novel))
    found = f"{len(across)} groups across train and val, {len(within)} within a split"
    yield Check("other equal images (noted)", True, _named(packed, found, [*across, *within]))


def _named(packed: Packed, found: str, groups: list[Group]) -> str:
    """With the first three groups of equal images."""
    named = "; ".join(" = ".join(_origin(packed, row) for row in rows) for rows in groups[:3])
    return f"{found}: {named}" if named else found


def _origin(packed: Packed, row: int) -> str:
    if not (packed.folder / "origins.parquet").exists():
        return f"image {row}"
    origin = packed.origins.iloc[row]
    return f"{origin['file']} {origin['place']}".strip()


def _overlaps(packed: Packed, others: list[Path]) -> Iterator[Check]:
    """Classes on which one data set trains and another tests: noted, since they matter only where the two are mixed."""
    for folder in others:
        try:
            other = Packed(folder)
        except UserError as error:
            yield Check(f"overlap with {folder.name} (noted)", True, str(error))
            continue
        if not comparable((packed.source, packed.classes["class"]), (other.source, other.classes["class"])):
            yield Check(f"overlap with {folder.name} (noted)", True, "unknown: not both name classes by WordNet's ids")
            continue
        found = []
        for first, second in (("train", "test"), ("train", "val"), ("test", "train")):
            common = _names(packed, first) & _names(other, second)
            found.append(f"{len(common)} classes of {first} in its {second}")
        yield Check(f"overlap with {folder.name} (noted)", True, ", ".join(found))


def _names(packed: Packed, split: str) -> set[str]:
    return set(packed.classes.loc[packed.classes["split"] == split, "class"])
