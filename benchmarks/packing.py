"""Packing a folder of images against the plain Pillow loop on one core."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.compare import alternate, write
from mlcl import config
from mlcl.data import folder
from mlcl.data.pack import pack

SIZE = 84


def make(root: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    for name in range(40):
        (root / f"class{name}").mkdir()
        for i in range(250):
            noise = rng.integers(0, 256, (14, 14, 3), np.uint8)
            Image.fromarray(noise).resize((SIZE, SIZE)).save(root / f"class{name}" / f"{i}.jpg", quality=75)
    return sorted(root.rglob("*.jpg"))


def plain(paths: list[Path]) -> None:
    images = np.empty((len(paths), SIZE, SIZE, 3), np.uint8)
    for i, path in enumerate(paths):
        with Image.open(path) as image:
            images[i] = np.asarray(image.convert("RGB").resize((SIZE, SIZE)))


def packed(root: Path) -> None:
    with tempfile.TemporaryDirectory() as out:
        pack(folder.source(config.Folder(source="folder", path=str(root), size=SIZE), root), Path(out))


def main(out: Path) -> None:
    with tempfile.TemporaryDirectory() as made:
        paths = make(Path(made))
        seconds = alternate({"plain": partial(plain, paths), "ours": partial(packed, Path(made))})
    row = {
        "images": len(paths), "peer": "Pillow loop", "peer images/s": f"{len(paths) / seconds['plain']:.0f}",
        "ours images/s": f"{len(paths) / seconds['ours']:.0f}", "ratio": f"{seconds['plain'] / seconds['ours']:.2f}",
    }  # fmt: skip
    write(out, "packing", "JPEGs at 84 x 84; ours also verifies, hashes and counts what it reads.", [row])
