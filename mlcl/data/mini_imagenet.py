"""mini-ImageNet in the four layouts in which it is found, with the split of Ravi and Larochelle (2017).

images/*.jpg and train.csv, val.csv, test.csv           as the split was published
mini-imagenet-cache-{train,val(idation),test}.pkl       Ren et al. 2018
miniImageNet_category_split_*.pickle                    Gidaris and Komodakis 2018, as RFS uses it
n01532829/*.JPEG ... and train.csv, val.csv, test.csv   the training folders of ILSVRC-2012
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlcl import config
from mlcl.data import definition, images, splits, unpickle
from mlcl.data.pack import Source, of_files
from mlcl.data.packed import SPLITS
from mlcl.errors import UserError

IMAGES = 600  # of every class
CACHES = {"train": ("train",), "val": ("validation", "val"), "test": ("test",)}
CATEGORY_SPLITS = {"train": "train_phase_train", "val": "val", "test": "test"}


def source(spec: config.MiniImagenet, folder: Path) -> Source:
    """The images of `folder`, whichever layout it has, RGB. Raises `UserError` where it has none, or not whole."""
    caches = {split: _first(folder, [f"mini-imagenet-cache-{n}.pkl" for n in names]) for split, names in CACHES.items()}
    pickles = {s: _first(folder, [f"miniImageNet_category_split_{n}.pickle"]) for s, n in CATEGORY_SPLITS.items()}
    if all(caches.values()):
        return _from_arrays(spec, caches, _cache)
    if all(pickles.values()):
        return _from_arrays(spec, pickles, _category_split)
    if all((folder / f"{split}.csv").exists() for split in SPLITS):
        return _from_files(spec, folder)
    raise UserError(
        f"{folder}: holds no mini-ImageNet: put there images/ with train.csv, val.csv and test.csv, the three "
        "mini-imagenet-cache-*.pkl, or miniImageNet_category_split_{train_phase_train,val,test}.pickle"
    )


def _first(folder: Path, names: list[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).exists()), None)


# -- encoded images, one file each --------------------------------------------------------------------------


def _from_files(spec: config.MiniImagenet, folder: Path) -> Source:
    table = pd.concat([_read_csv(folder / f"{split}.csv").assign(split=split) for split in SPLITS], ignore_index=True)
    classes = splits.published("mini-imagenet")
    for split in SPLITS:
        rows = table[table["split"] == split]
        splits.check(folder / f"{split}.csv", split, rows["label"], classes)
        for row in rows.itertuples():
            if not row.filename.startswith(row.label):
                raise UserError(
                    f"{folder}/{split}.csv: gives {row.filename} the label {row.label}; take it as published"
                )
    table["path"] = list(_listed(folder, table) if (folder / "images").is_dir() else _of_ilsvrc(folder, table))
    number = {c.name: i for i, c in enumerate(classes)}
    table = table.sort_values("filename").assign(number=table["label"].map(number)).sort_values("number", kind="stable")
    paths = table["path"].tolist()
    return Source(
        classes=classes,
        labels=table["number"].to_numpy(),
        **of_files(paths, folder),
        decode=partial(images.read, size=spec.size),
        **_common(spec),
    )


def _common(spec: config.MiniImagenet) -> dict[str, Any]:
    provenance = {"dataset": definition.of(spec), "split": "Ravi and Larochelle 2017"}
    return {"shape": (spec.size, spec.size, 3), "flip": True, "provenance": provenance}


def _listed(folder: Path, table: pd.DataFrame) -> Iterator[Path]:
    present = {path.name for path in (folder / "images").iterdir()}
    for row in table.itertuples():
        if row.filename not in present:
            raise UserError(f"{folder}/{row.split}.csv: names {row.filename}, which is not in images/; add the image")
        yield folder / "images" / row.filename


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); it needs the columns filename, label") from error
    if list(table.columns) != ["filename", "label"]:
        raise UserError(f"{path}: has the columns {', '.join(table.columns)}; it needs filename, label")
    counts = table["label"].value_counts()
    if (counts != IMAGES).any() or table["filename"].duplicated().any():
        raise UserError(
            f"{path}: has classes of {counts.min()} to {counts.max()} images; the split has {IMAGES} different ones "
            "of each: take it as published"
        )
    return table


def _of_ilsvrc(folder: Path, table: pd.DataFrame) -> Iterator[Path]:
    """The file of each row: n0153282900000005.jpg is the fifth of n01532829's, ordered by the number in their names."""
    ordered: dict[str, list[Path]] = {}
    for name in table["filename"]:
        parts = re.fullmatch(r"(n\d{8})(\d{8})\.jpg", name)
        if not parts:
            raise UserError(f"{folder}: {name} is no name of the split's, such as n0153282900000005.jpg")
        label, place = parts[1], int(parts[2])
        if label not in ordered:
            ordered[label] = _numbered(folder / label)
        if not 1 <= place <= len(ordered[label]):
            raise UserError(
                f"{folder}/{label}: has {len(ordered[label])} images, and {name} is number {place}; put the training "
                "folders of ILSVRC-2012 there, whole, or images/"
            )
        yield ordered[label][place - 1]


def _numbered(folder: Path) -> list[Path]:
    """The images of a class of ILSVRC's, by the number in their names; n01532829_5 (1).JPEG is somebody's copy."""
    names = (re.fullmatch(rf"{folder.name}_(\d+)\.JPEG", path.name) for path in folder.glob("*"))
    return [folder / name[0] for name in sorted(filter(None, names), key=lambda name: int(name[1]))]


# -- arrays of pixels in pickles ----------------------------------------------------------------------------


Pixels = tuple[np.ndarray, dict[str, np.ndarray]]
"""[N, 84, 84, 3], and the rows of each class, by its WordNet id."""


def _from_arrays(
    spec: config.MiniImagenet, paths: dict[str, Path], read: Callable[[Path, list[str]], Pixels]
) -> Source:
    """One file a split; only one of them is held at a time, mapped where its pickle allows."""
    classes = splits.published("mini-imagenet")
    names = {split: [c.name for c in classes if c.split == split] for split in SPLITS}
    origins = []
    for split, path in paths.items():
        with unpickle.expected(path):
            pixels, members = read(path, names[split])
            splits.check(path, split, members, classes)
            places = np.concatenate([members[name] for name in names[split]])
            if (
                any(len(members[name]) != IMAGES for name in names[split])
                or places.dtype.kind not in "iu" or len(np.unique(places)) < len(places)
                or places.min() < 0 or places.max() >= len(pixels)
                or pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[-1] != 3
            ):  # fmt: skip
                raise UserError(f"{path}: does not hold {IMAGES} RGB images of every class; fetch the file again")
        origins.append(pd.DataFrame({"file": path.name, "place": places.astype(str)}))
        del pixels

    def items(start: int) -> Iterator[np.ndarray]:
        for split, path in paths.items():
            of_split = IMAGES * len(names[split])
            if start < of_split:
                pixels, members = read(path, names[split])
                for row in np.concatenate([members[name] for name in names[split]])[start:]:
                    yield pixels[row]
            start = max(0, start - of_split)

    return Source(
        classes=classes,
        labels=np.repeat(np.arange(len(classes)), IMAGES),
        origins=pd.concat(origins, ignore_index=True),
        root=paths["train"].parent,
        items=items,
        decode=partial(images.resize, size=spec.size),
        **_common(spec),
    )


def _cache(path: Path, names: list[str]) -> Pixels:
    pixels, members = unpickle.entries(path, "image_data", "class_dict")
    return pixels, {unpickle.text(name): np.asarray(rows) for name, rows in members.items()}


def _category_split(path: Path, names: list[str]) -> Pixels:
    """The file numbers a split's classes as its catname2label says, or where that does not name them in the order of
    their WordNet ids, after those of the splits before."""
    pixels, labels, said = unpickle.entries(path, "data", "labels", optional="catname2label")
    labels = np.asarray(labels)
    numbers = np.unique(labels)
    if len(numbers) != len(names):
        raise UserError(f"{path}: has {len(numbers)} classes, the split {len(names)}; put the split's own file there")
    by_number = {number: unpickle.text(name) for name, number in (said or {}).items()}
    if not set(names) <= set(by_number.values()):
        by_number = dict(zip(numbers, names, strict=True))
    if missing := set(numbers) - set(by_number):
        raise UserError(f"{path}: its catname2label has no class of label {min(missing)}; fetch the file again")
    return pixels, {by_number[number]: np.flatnonzero(labels == number) for number in numbers}
