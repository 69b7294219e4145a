"""CIFAR-FS and FC100, both made from CIFAR-100's training and test images together through their class lists."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from mlcl import config
from mlcl.data import archives, definition, images, splits, unpickle
from mlcl.data.pack import Source
from mlcl.errors import UserError

FOLDER = "cifar-100-python"


def source(spec: config.CifarFs | config.Fc100, folder: Path) -> Source:
    """The 60,000 images, 600 a class, from the archive or what it unpacks to. Raises `UserError` for none."""
    where = archives.unpacked(folder / f"{FOLDER}.tar.gz", folder / FOLDER)
    classes = splits.published(spec.source)
    number = {c.name: i for i, c in enumerate(classes)}
    with unpickle.expected(where / "meta"):
        names = list(map(unpickle.text, *unpickle.entries(where / "meta", "fine_label_names")))
    if sorted(names) != sorted(number):
        raise UserError(f"{where / 'meta'}: does not name CIFAR-100's classes; fetch {FOLDER}.tar.gz again")
    pixels, labels, origins = [], [], []
    for path in (where / "train", where / "test"):
        with unpickle.expected(path):
            rows, fine = map(np.asarray, unpickle.entries(path, "data", "fine_labels"))
            if (
                rows.dtype != np.uint8 or fine.dtype.kind not in "iu" or fine.ndim != 1
                or rows.shape != (len(fine), 3 * 32 * 32) or not ((fine >= 0) & (fine < len(names))).all()
            ):  # fmt: skip
                raise UserError(f"{path}: does not hold labelled 32 x 32 images; fetch {FOLDER}.tar.gz again")
        pixels.append(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        labels.append(np.array([number[names[label]] for label in fine]))
        file = str(path.relative_to(folder))
        origins.append(pd.DataFrame({"file": file, "place": np.arange(len(fine)).astype(str)}))
    together = np.concatenate(pixels)
    return Source(
        classes=classes,
        labels=np.concatenate(labels),
        origins=pd.concat(origins, ignore_index=True),
        root=folder,
        items=lambda start: iter(together[start:]),
        decode=partial(images.resize, size=spec.size),
        shape=(spec.size, spec.size, 3),
        flip=True,
        provenance={"dataset": definition.of(spec)},
    )
