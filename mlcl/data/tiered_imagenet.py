"""tiered-ImageNet (Ren et al. 2018) in the two layouts in which it is found, 84 x 84 RGB, read as a stream.

{train,val,test}_images_png.pkl and _labels.pkl     a list of encoded images, as published
{train,val,test}_images.npz and _labels.pkl         one array of pixels, as MetaOptNet and RFS use it
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlcl import config
from mlcl.data import definition, images, splits, unpickle
from mlcl.data.naming import in_wordnet
from mlcl.data.pack import Class, Source
from mlcl.data.packed import SPLITS
from mlcl.errors import UserError

SIDE = 84
# Of train, val and test, as published; a class has 732 to 1,300 images.
SUPERCLASSES = {"train": 20, "val": 6, "test": 8}


def source(spec: config.TieredImagenet, folder: Path) -> Source:
    """The images of `folder`, whichever layout it has. Raises `UserError` where it has none, or an impaired one."""
    paths, read = _layout(folder)
    classes: list[Class] = []
    labels, origins = [], []
    for split, path in paths.items():
        with unpickle.expected(folder / f"{split}_labels.pkl"):
            names, numbers = _read_labels(folder / f"{split}_labels.pkl", split)
        labels.append(numbers + len(classes))
        classes += names
        origins.append(pd.DataFrame({"file": path.name, "place": np.arange(len(numbers)).astype(str)}))

    def items(start: int) -> Iterator[Any]:
        for split, numbers in zip(SPLITS, labels, strict=True):
            if start <= len(numbers):  # at its end it may turn out to hold more
                given = start
                for given, item in enumerate(read(paths[split], start), start + 1):
                    if given > len(numbers):  # before it is taken for the next split's
                        break
                    yield item
                if given != len(numbers):
                    many = "more" if given > len(numbers) else "fewer"
                    raise UserError(
                        f"{paths[split]}: holds {many} images than there are labels ({len(numbers)}); fetch both again"
                    )
            start = max(0, start - len(numbers))

    return Source(
        classes=classes,
        labels=np.concatenate(labels),
        origins=pd.concat(origins, ignore_index=True),
        root=folder,
        items=items,
        decode=partial(_image, size=spec.size),
        shape=(spec.size, spec.size, 3),
        flip=True,
        provenance={"dataset": definition.of(spec)},
    )


def _layout(folder: Path) -> tuple[dict[str, Path], Callable[[Path, int], Iterator[Any]]]:
    """Each split's file of images, and what reads such a file from an image on."""
    found = []
    for pattern, read in {"{}_images_png.pkl": _encoded, "{}_images.npz": _pixels}.items():
        paths = {split: folder / pattern.format(split) for split in SPLITS}
        if all(path.exists() for path in paths.values()):
            found.append((paths, read))
    if len(found) > 1:
        raise UserError(
            f"{folder}: holds *_images_png.pkl and *_images.npz, whose images lie in different orders, and the labels "
            "are of one of them alone; move the other away"
        )
    if found:
        return found[0]
    raise UserError(
        f"{folder}: holds no tiered-ImageNet: put there {{train,val,test}}_images_png.pkl or _images.npz, each with "
        "its _labels.pkl"
    )


def _encoded(path: Path, start: int) -> Iterator[tuple[bytes, str]]:
    for number, png in islice(enumerate(unpickle.stream(path)), start, None):
        yield np.asarray(png).tobytes() if isinstance(png, np.ndarray) else png, f"{path}: image {number}"


def _pixels(path: Path, start: int) -> Iterator[np.ndarray]:
    """The rows of `images` in an npz, without holding them all."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open("images.npy") as file:
            version = np.lib.format.read_magic(file)
            read_header = (
                np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            )
            shape, fortran, dtype = read_header(file)
            if shape[1:] != (SIDE, SIDE, 3) or dtype != np.uint8 or fortran:
                order = " in Fortran's order" if fortran else ""
                raise UserError(
                    f"{path}: holds {dtype} {shape}{order}, not uint8 [N, {SIDE}, {SIDE}, 3] in C's; fetch the file "
                    "again"
                )
            size = SIDE * SIDE * 3
            file.seek(start * size, 1)
            for number in range(start, shape[0]):
                row = file.read(size)
                if len(row) != size:
                    raise UserError(f"{path}: ends at image {number} of {shape[0]}; fetch the file again")
                yield np.frombuffer(row, np.uint8).reshape(SIDE, SIDE, 3)
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: cannot be read ({error}); fetch the file again") from error


def _image(item: np.ndarray | tuple[bytes, str], size: int) -> np.ndarray:
    return images.resize(item, size) if isinstance(item, np.ndarray) else images.decode(*item, size)


def _read_labels(path: Path, split: str) -> tuple[list[Class], np.ndarray]:
    """The split's classes, and the place among them of each image's."""
    entries = unpickle.named(path)
    fine = entries.get("label_specific", entries.get("labels"))
    if fine is None:
        raise UserError(f"{path}: has neither label_specific nor labels; fetch the file again")
    values, numbers = np.unique(np.asarray(fine), return_inverse=True)
    published = [c for c in splits.published("tiered-imagenet") if c.split == split]
    if len(values) != len(published):
        raise UserError(f"{path}: has {len(values)} classes, where {split} has {len(published)}; fetch the file again")
    names = [unpickle.text(name) for name in entries.get("label_specific_str", [])]
    if len(names) != len(values):
        return [Class(f"{split}-{value}", "", split) for value in values], numbers
    if in_wordnet(names):
        splits.check(path, split, names, splits.published("tiered-imagenet"))
        by_name = {c.name: c for c in published}
        return [by_name[name] for name in names], numbers
    superclasses = _coarse(path, entries, values, split)
    return [Class(name, coarse, split) for name, coarse in zip(names, superclasses, strict=True)], numbers


def _coarse(path: Path, entries: dict[str, Any], values: np.ndarray, split: str) -> list[str]:
    """The super-class of each class, by the labels of its images."""
    fine, coarse = np.asarray(entries["label_specific"]), np.asarray(entries.get("label_general", []))
    if len(coarse) != len(fine):
        raise UserError(f"{path}: has no label_general of every image; fetch the file again")
    names = [unpickle.text(name) for name in entries.get("label_general_str", [])]
    first = [int(coarse[np.argmax(fine == value)]) for value in values]
    if len(set(first)) != SUPERCLASSES[split] or (names and max(first) >= len(names)):
        raise UserError(f"{path}: has not the {SUPERCLASSES[split]} super-classes of {split}; fetch the file again")
    return [names[number] if names else f"{split}-{number}" for number in first]
