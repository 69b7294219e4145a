"""Any folder of images: root/<class>/*, root/<super-class>/<class>/* or root/{train,val,test}/<class>/*."""

from __future__ import annotations

import csv
import re
import sys
import unicodedata
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from mlcl import config
from mlcl.data import definition, images
from mlcl.data.pack import Class, Source, of_files
from mlcl.data.packed import SPLITS
from mlcl.errors import UserError

LIKE_SPLITS = {*SPLITS, "training", "valid", "validation", "dev", "eval", "testing"}
NO_TEXT = re.compile("[\x00-\x1f\ud800-\udfff]")  # control characters, and bytes that are no UTF-8


def source(spec: config.Folder, folder: Path) -> Source:
    """The images below `folder`, RGB, the middle square of each.

    The classes are split by split.csv (columns class, split) where there is one, else by the folders train, val and
    test where they lie in these, else by a draw from the seed: of super-classes where the folders nest. Raises
    `UserError` where there are too few classes, split.csv is wrong, a class lies in two splits, or a name cannot be
    written into a table.
    """
    files, others = listing(folder)
    if others := [path for path in others if path != folder / "split.csv"]:
        print(f"{folder}: {counted(others)} passed over, being no images", file=sys.stderr, flush=True)
    for *_, path in files:
        name = str(path.relative_to(folder))
        if NO_TEXT.search(name):
            raise UserError(f"{folder}: {name!a} has characters that no table takes; rename it")
    names = {name: superclass for superclass, name, _ in files}
    if (folder / "split.csv").exists():
        split = _read_split(folder / "split.csv", set(names))
    elif set(names.values()) == set(SPLITS):
        files = [(of, name.partition("/")[2], path) for of, name, path in files]
        split = _by_folders(folder, files)
        names = dict.fromkeys(split, "")
    elif near := sorted({name for name in names.values() if name.lower() in LIKE_SPLITS}):
        # Drawn as super-classes are, one of them may be cut where others drew their line.
        raise UserError(
            f"{folder}: has the folders {', '.join(near)}, and its splits would be others; call them "
            f"{', '.join(SPLITS)}, these three and no other, or say in split.csv which class is in which"
        )
    else:
        split = _draw(spec, names)
    classes = sorted((Class(n, s, split[n]) for n, s in names.items()), key=lambda c: (SPLITS.index(c.split), c.name))
    number = {c.name: i for i, c in enumerate(classes)}
    paths = [path for _, _, path in files]
    return Source(
        classes=classes,
        labels=np.array([number[name] for _, name, _ in files]),
        **of_files(paths, folder),
        decode=partial(images.read, size=spec.size, crop=True),
        shape=(spec.size, spec.size, 3),
        flip=spec.flip,
        provenance={"dataset": definition.of(spec)},
    )


def listing(folder: Path) -> tuple[list[tuple[str, str, Path]], list[Path]]:
    """Super-class (or nothing), class and path of every image, in the order of their paths; and the files that are no
    images.

    Raises `UserError` where there is no image, where they lie at several depths, and for a class without any.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: is no folder; name the one that holds the classes' folders")
    paths, others, folders = images.below(folder)
    files = []
    first = {len(path.relative_to(folder).parts): path for path in reversed(paths)}  # by depth
    if not first.keys() <= {2} and not first.keys() <= {3}:
        places = ", ".join(str(path) for _, path in sorted(first.items())[:2])
        if 1 in first:
            where = f"outside of any class ({first[1]})"
        else:
            where = f"at several depths ({places})" if len(first) > 1 else f"too deep ({places})"
        raise UserError(f"{folder}: holds images {where}; lay them out as <class>/* or <super-class>/<class>/*")
    for path in paths:
        *above, name, _ = path.relative_to(folder).parts
        # Two super-classes may each have a class of one name.
        files.append(("/".join(above), "/".join([*above, name]), path))
    if not files:
        raise UserError(f"{folder}: holds no images; lay them out as <class>/*.jpg or <super-class>/<class>/*.jpg")
    filled = {above for path in paths for above in path.parents}
    for place in folders:
        if place not in filled and len(place.relative_to(folder).parts) < max(first):
            raise UserError(
                f"{place}: holds no images ({', '.join(sorted(images.EXTENSIONS))}); add some, or remove it"
            )
    return files, others


def counted(paths: Sequence[Path]) -> str:
    """How many files, and which: 3 files (a.txt and 2 more)."""
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"{len(paths)} file{'s' if more else ''} ({paths[0]}{more})"


def _by_folders(folder: Path, files: Sequence[tuple[str, str, Path]]) -> dict[str, str]:
    """The split of each class, of images with their split and class."""
    split: dict[str, str] = {}
    for of, name, _ in files:
        known = split.setdefault(name, of)
        if known != of:
            raise UserError(
                f"{folder}: has the class {name} in {known} and in {of}; few-shot splits share no class: put each into "
                "one of them, or all below one folder and let them be split"
            )
    return split


def _read_split(path: Path, names: set[str]) -> dict[str, str]:
    spelled = {unicodedata.normalize("NFC", name): name for name in names}  # macOS writes an accent by itself
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            # Spreadsheets end lines with commas, and files with empty lines of them.
            rows = [[*row[:2], *filter(str.strip, row[2:])] for row in csv.reader(file) if any(map(str.strip, row))]
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read ({error}); it needs the columns class, split") from error
    if not rows or list(map(str.strip, rows[0])) != ["class", "split"]:
        raise UserError(f"{path}: has the columns {', '.join(rows[0] if rows else [])}; it needs class, split")
    split: dict[str, str] = {}
    for row in rows[1:]:
        if len(row) != 2:
            raise UserError(f"{path}: has {len(row)} cells in the line {','.join(row)}; each needs two, class, split")
        name, of = spelled.get(unicodedata.normalize("NFC", row[0]), row[0]), row[1].strip()
        if of not in SPLITS:
            raise UserError(f"{path}: puts {name} in {of!r}; a split is one of {', '.join(SPLITS)}")
        if name in split:
            raise UserError(f"{path}: has {name} twice; keep one line")
        split[name] = of
    for name in sorted(names ^ set(split)):
        what = "has no folder" if name in split else "is not in it"
        raise UserError(f"{path}: {name} {what}; list each class folder once")
    for name in SPLITS:
        if name not in split.values():
            raise UserError(f"{path}: puts no class in {name}; each of {', '.join(SPLITS)} needs some")
    return split


def _draw(spec: config.Folder, names: dict[str, str]) -> dict[str, str]:
    """The split of each class: the units, classes or super-classes, are shuffled and cut by the shares."""
    nested = any(names.values())
    units = sorted(set(names.values()) if nested else names)
    counts = np.diff([0, *np.round(np.cumsum(spec.shares) * len(units)).astype(int)])
    if not counts.all():
        what = "super-classes" if nested else "classes"
        raise UserError(
            f"{spec.path}: {len(units)} {what} are too few to split by {spec.shares}; add some, or split.csv"
        )
    shuffled = np.random.default_rng(spec.seed).permutation(units)
    split = dict(zip(shuffled.tolist(), np.repeat(SPLITS, counts).tolist(), strict=True))
    return {name: split[superclass if nested else name] for name, superclass in names.items()}
