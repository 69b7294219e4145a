"""CUB-200-2011 (Wah et al. 2011): 200 birds, split 100/50/50 by their numbers as Chen et al. (2019) do."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from mlcl import config
from mlcl.data import archives, definition, images
from mlcl.data.pack import Class, Source, of_files
from mlcl.data.packed import SPLITS
from mlcl.errors import UserError

IMAGES = 11_788
SPLIT_OF = ("train", "val", "train", "test")  # of the classes numbered 0, 1, 2, 3 modulo 4


def source(spec: config.Cub, folder: Path) -> Source:
    """CUB_200_2011.tgz, or what it unpacks to, RGB. Raises `UserError` where it is missing or not whole."""
    root = archives.unpacked(folder / "CUB_200_2011.tgz", folder / "CUB_200_2011") / "images"
    names = sorted(path.name for path in root.glob("[!.]*") if path.is_dir())
    paths = sorted(root.glob("[!.]*/[!.]*.jpg"))  # macOS leaves ._*.jpg
    if len(names) != 200 or len(paths) != IMAGES:
        raise UserError(
            f"{root}: holds {len(paths)} images of {len(names)} classes, not {IMAGES} of 200; fetch it again"
        )
    classes = [Class(name, "", SPLIT_OF[i % 4]) for i, name in enumerate(names)]
    classes.sort(key=lambda c: SPLITS.index(c.split))
    number = {c.name: i for i, c in enumerate(classes)}
    return Source(
        classes=classes,
        labels=np.array([number[path.parent.name] for path in paths]),
        **of_files(paths, folder),
        decode=partial(images.read, size=spec.size, crop=True),
        shape=(spec.size, spec.size, 3),
        flip=True,
        provenance={"dataset": definition.of(spec)},
    )
