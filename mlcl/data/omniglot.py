"""Omniglot (Lake et al. 2015): 1,623 characters of 50 alphabets, 20 drawings of each, grey.

images_background.zip and images_evaluation.zip, or what they unpack to: <Alphabet>/<character>/*.png. The evaluation
alphabets test; the background's last five validate, since the authors set no validation alphabets apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from mlcl import config
from mlcl.data import archives, definition, images
from mlcl.data.pack import Class, Source
from mlcl.data.packed import SPLITS
from mlcl.errors import UserError

PARTS = {"images_background": 964, "images_evaluation": 659}  # characters
DRAWINGS = 20
VALIDATION_ALPHABETS = 5


def source(spec: config.Omniglot, folder: Path) -> Source:
    """The drawings, each in four turns where `rotations` is set. Raises `UserError` for none."""
    files: list[tuple[str, str, Path]] = []  # split, class, drawing
    for part, characters in PARTS.items():
        root = archives.unpacked(folder / f"{part}.zip", folder / part)
        drawings = sorted(root.glob("*/*/[!.]*.png"))  # macOS leaves ._*.png
        alphabets = sorted({path.parts[-3] for path in drawings})
        if len({path.parent for path in drawings}) != characters or len(drawings) != characters * DRAWINGS:
            raise UserError(
                f"{root}: holds {len(drawings)} drawings, not {DRAWINGS} of {characters} characters; delete it and "
                f"fetch {part}.zip again"
            )
        for path in drawings:
            validates = path.parts[-3] in alphabets[-VALIDATION_ALPHABETS:]
            split = "test" if part == "images_evaluation" else "val" if validates else "train"
            files.append((split, "/".join(path.parts[-3:-1]), path))
    turns = range(4) if spec.rotations else range(1)
    drawn = sorted({(SPLITS.index(split), name) for split, name, _ in files})
    classes = [_turned(name, SPLITS[order], turn) for order, name in drawn for turn in turns]
    number = {name: i * len(turns) for i, (_, name) in enumerate(drawn)}

    def items(start: int) -> Iterator[tuple[Path, int]]:
        for place in range(start, len(files) * len(turns)):
            yield files[place // len(turns)][2], place % len(turns)

    return Source(
        classes=classes,
        labels=np.array([number[name] + turn for _, name, _ in files for turn in turns]),
        origins=pd.DataFrame(
            [(str(path.relative_to(folder)), f"turn {90 * turn}") for *_, path in files for turn in turns],
            columns=["file", "place"],
        ),
        root=folder,
        items=items,
        decode=partial(_drawing, size=spec.size),
        shape=(spec.size, spec.size, 1),
        flip=False,
        provenance={"dataset": definition.of(spec)},
    )


def _drawing(item: tuple[Path, int], size: int) -> np.ndarray:
    path, turn = item
    return np.rot90(images.read(path, size, mode="L"), turn)


def _turned(name: str, split: str, turn: int) -> Class:
    return Class(name if not turn else f"{name} turned {90 * turn}", name.split("/")[0], split)
