"""Packing a folder of images against the plain Pillow loop on one core, side by side.

python benchmarks/packing.py FOLDER     (a folder of <class>/* images; without one, JPEGs of noise are made)
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from mlcl import config
from mlcl.data import folder
from mlcl.data.pack import pack

RUNS, SIZE = 5, 84


def plain(paths: list[Path]) -> None:
    images = np.empty((len(paths), SIZE, SIZE, 3), np.uint8)
    for i, path in enumerate(paths):
        with Image.open(path) as image:
            images[i] = np.asarray(image.convert("RGB").resize((SIZE, SIZE)))


def packed(root: Path) -> None:
    with tempfile.TemporaryDirectory() as out:
        pack(folder.source(config.Folder(source="folder", path=str(root), size=SIZE), root), Path(out))


def make(root: Path) -> None:
    rng = np.random.default_rng(0)
    for name in range(40):
        (root / f"class{name}").mkdir()
        for i in range(500):
            noise = rng.integers(0, 256, (14, 14, 3), np.uint8)
            Image.fromarray(noise).resize((SIZE, SIZE)).save(root / f"class{name}" / f"{i}.jpg", quality=75)


def main(root: Path) -> None:
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png"})
    seconds: dict[str, list[float]] = {"plain loop": [], "pack": []}
    for _ in range(RUNS):
        for name, run in (("plain loop", lambda: plain(paths)), ("pack", lambda: packed(root))):
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    for name, value in median.items():
        print(f"{name:10}  {value:6.2f} s  {len(paths) / value:8,.0f} images/s")
    print(f"ratio {median['plain loop'] / median['pack']:.2f}, medians of {RUNS} alternating runs, {len(paths)} images")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as made:
            make(Path(made))
            main(Path(made))
