"""From a source of images to the packed form: streamed, decoded on all cores, resumed after a kill.

While it is under way, the images written so far lie in images.npy.part, and progress.json says how far they go and
what they are of; both go when the manifest is written.
"""

from __future__ import annotations

import hashlib
import json
import math
import multiprocessing
import os
import pkgutil
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice, pairwise
from multiprocessing import connection
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pandas as pd

from mlcl.data import definition
from mlcl.data.packed import FILES, SPLITS
from mlcl.errors import UserError
from mlcl.files import alone, clear_unfinished, naming, replacing, sha256
from mlcl.fingerprint import fingerprint
from mlcl.progress import Progress

CODE = [f"data.{module.name}" for module in pkgutil.iter_modules([str(Path(__file__).parent)])]  # whoever reads it
BATCH = 64  # images that a process decodes at a time
SAVE_SECONDS = 5.0


@dataclass(frozen=True)
class Class:
    name: str
    superclass: str
    split: str


def of_files(paths: list[Path], root: Path) -> dict[str, Any]:
    """What `Source` needs where every image is a file of its own."""
    origins = pd.DataFrame({"file": [str(path.relative_to(root)) for path in paths], "place": ""})
    return {"origins": origins, "root": root, "items": lambda start: iter(paths[start:])}


@dataclass(frozen=True)
class Source:
    """A data set before packing: which images there are, and how to read them."""

    classes: list[Class]
    """Train before val before test."""
    labels: np.ndarray
    """int [N]: the class of each image, in the order in which the source gives them."""
    origins: pd.DataFrame
    """N rows in the same order: `file`, relative to `root`, and `place` in it (a name or number, as text)."""
    items: Callable[[int], Iterator[Any]]
    """From image number `start` on, what `decode` makes an image of: bytes, a path, an array."""
    decode: Callable[[Any], np.ndarray]
    """An item to uint8 [H, W, C]; called in other processes. Raises `UserError` that names a bad image."""
    shape: tuple[int, int, int]
    flip: bool
    """Whether an image and its mirror image show the same class."""
    provenance: dict[str, Any]
    """Goes into the manifest: what the images were made from, in a form that does not depend on the machine."""
    root: Path | None = None
    """Where the files of `origins` lie; None: they are no files of the user's, who might change them."""


def pack(source: Source, folder: Path) -> None:
    """Write `source` into `folder` in constant memory; what was packed there is replaced once all is written.

    After a kill, packing goes on where it was, if neither the source nor its files nor the code have changed. While
    another process packs it into the same folder, it is waited for. Raises `UserError` where an image cannot be
    decoded, a process that decodes is killed, or the folder holds data of another definition, ValueError where the
    source gives more or fewer images than it has labels.
    """
    with alone(folder, "packing it") as waited:
        definition.check(folder, source.provenance["dataset"])  # another experiment's, by now
        if not (waited and _is_of(source, folder)):
            try:
                _pack(source, folder)
            except BrokenProcessPool:
                raise UserError(
                    f"{folder}: a process that decodes images was killed, as systems do where memory runs out; free "
                    "some, take fewer cores (taskset -c 0), or remove images of very many pixels, and run again"
                ) from None


def _is_of(source: Source, folder: Path) -> bool:
    """Whether what is packed in the folder was made from the same."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        classes = (folder / "classes.csv").read_text()
        origins = pd.read_parquet(folder / "origins.parquet")
    except (OSError, ValueError):
        return False
    images = source.origins.iloc[_order(source)]
    return (
        manifest.items() >= json.loads(json.dumps(source.provenance)).items()
        and classes == _classes(source).to_csv(index=False)
        and origins.to_numpy().tolist() == images.to_numpy().tolist()
    )


def _classes(source: Source) -> pd.DataFrame:
    """What classes.csv holds."""
    counts = np.bincount(source.labels, minlength=len(source.classes))
    return pd.DataFrame([vars(c) for c in source.classes]).rename(columns={"name": "class"}).assign(count=counts)


def _order(source: Source) -> np.ndarray:
    """[N]: the numbers of the source's images, class after class."""
    return np.argsort(source.labels, kind="stable")


def _pack(source: Source, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    order = _order(source)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))  # where each image of the source goes
    in_train = np.array([c.split == "train" for c in source.classes])[source.labels]
    state = _Unfinished(folder, source)
    with Progress(str(folder), len(order), "images", done=state.done) as progress:
        for images in _decoded(source, state.done):
            rows = slice(state.done, state.done + len(images))
            if rows.stop > len(order):
                raise ValueError(f"the source gives more than its {len(order)} images")
            state.write(place[rows], images, in_train[rows])
            progress.advance(len(images))
    if state.done != len(order):
        raise ValueError(f"the source gives {state.done} images, not {len(order)}")
    state.flush()
    state.file.close()
    classes = _classes(source)
    with replacing(*(folder / name for name in FILES[1:]), folder / "manifest.json") as temporary:
        labels_file, classes_file, origins_file, manifest_file = temporary
        with open(labels_file, "wb") as file:
            np.save(file, source.labels[order].astype(np.int64))
        classes.to_csv(classes_file, index=False)
        source.origins.iloc[order].reset_index(drop=True).to_parquet(origins_file, index=False)
        mean, std = state.statistics()
        manifest = {
            **source.provenance,
            "images": len(order),
            "splits": sizes(source),
            "shape": source.shape,
            "flip": source.flip,
            "mean": mean,
            "std": std,
            "sha256": {name: sha256(path) for name, path in zip(FILES, [state.part, *temporary], strict=False)},
        }
        manifest_file.write_text(json.dumps(manifest, indent=2) + "\n")
        # Files of two packings may lie side by side for a moment, and without a manifest nobody takes them for data.
        (folder / "manifest.json").unlink(missing_ok=True)
        os.replace(state.part, folder / FILES[0])
    state.record.unlink(missing_ok=True)


def _decoded(source: Source, start: int) -> Iterator[np.ndarray]:
    """Batches of decoded images [n, H, W, C] in the source's order, a few ahead of the reader, made on every core.

    Processes, since opening an image is as much Python as decoding it; forks not of this one, whose locks they would
    copy, but of a server without threads, which has loaded once what they all need.
    """
    # On a cluster, the job's cores and not the machine's, where the system can tell.
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    ahead: deque[Future] = deque()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(workers, context, initializer=_end_with_parent) as pool:
        try:
            items = source.items(start)
            while batch := tuple(islice(items, BATCH)):
                ahead.append(pool.submit(_decode, source.decode, batch))
                if len(ahead) > 2 * workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """Have this worker end when its parent does, also where the parent is killed: the terminal's Ctrl-C is for that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def wait() -> None:
        connection.wait([multiprocessing.parent_process().sentinel])
        os._exit(1)

    Thread(target=wait, daemon=True).start()


def _decode(decode: Callable[[Any], np.ndarray], items: tuple) -> np.ndarray:
    return np.stack([decode(item) for item in items])


class _Unfinished:
    """The images written so far, and the counts of the training split's levels, from which its statistics follow.

    Rows are written, not mapped: the pages of a map would count as this process's memory.
    """

    def __init__(self, folder: Path, source: Source):
        self.part, self.record = folder / "images.npy.part", folder / "progress.json"
        self.shape = (len(source.labels), *source.shape)
        files = source.origins["file"].unique() if source.root else ()
        stats = [(source.root / file).stat() for file in files]
        changed = [(found.st_size, found.st_mtime_ns) for found in stats]  # or not, since the packing was stopped
        classes = _classes(source).to_csv(index=False)
        what = json.dumps([source.provenance, classes, self.shape, fingerprint(*CODE), changed], sort_keys=True)
        origins = pd.util.hash_pandas_object(source.origins, index=False).to_numpy().tobytes()
        self.key = hashlib.sha256(what.encode() + source.labels.tobytes() + origins).hexdigest()
        self.done, self.levels = 0, np.zeros((source.shape[-1], 256), np.int64)  # by channel, from black to white
        self.saved = time.monotonic()
        clear_unfinished(self.record)
        try:
            before = json.loads(self.record.read_text())
            if before["key"] != self.key or np.load(self.part, mmap_mode="r").shape != self.shape:
                raise ValueError("the unfinished packing is of something else")
            self.done, self.levels = before["done"], np.array(before["levels"], np.int64)
        except (OSError, ValueError, KeyError):
            self.record.unlink(missing_ok=True)  # first: it is not of what is written from here on
            np.lib.format.open_memmap(self.part, "w+", np.uint8, self.shape)
        self.file = open(self.part, "r+b")  # noqa: SIM115
        self.start = self.part.stat().st_size - math.prod(self.shape)  # the header's length

    def write(self, rows: np.ndarray, images: np.ndarray, in_train: np.ndarray) -> None:
        size = images[0].nbytes
        with naming(self.part):
            for first, last in _runs(rows):
                self.file.seek(self.start + int(rows[first]) * size)
                self.file.write(images[first:last].tobytes())
        self.done += len(images)
        for channel, levels in enumerate(self.levels):
            levels += np.bincount(images[in_train, ..., channel].ravel(), minlength=256)
        if time.monotonic() - self.saved > SAVE_SECONDS:
            self.flush()
            with replacing(self.record) as (temporary,):
                temporary.write_text(json.dumps({"key": self.key, "done": self.done, "levels": self.levels.tolist()}))
            self.saved = time.monotonic()

    def flush(self) -> None:
        with naming(self.part):
            self.file.flush()
            os.fsync(self.file.fileno())

    def statistics(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of the training split's channels, in [0, 1]."""
        share = self.levels / self.levels.sum(1, keepdims=True)
        level = np.arange(256) / 255
        mean = share @ level
        return mean.round(6).tolist(), np.sqrt(share @ level**2 - mean**2).round(6).tolist()


def _runs(rows: np.ndarray) -> Iterator[tuple[int, int]]:
    """Where rows follow one another: (first, last + 1) places of each run."""
    ends = [*(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)]
    return pairwise([0, *ends])


def sizes(source: Source) -> dict[str, dict[str, Any]]:
    """What `episodes.check_tasks` asks of each split: how many classes and images it has, and its smallest class."""
    classes, found = _classes(source), {}
    for name in SPLITS:
        of = classes[classes["split"] == name].sort_values("count", kind="stable")
        smallest, count = (of["class"].iloc[0], int(of["count"].iloc[0])) if len(of) else ("", 0)
        found[name] = {
            "classes": len(of), "images": int(of["count"].sum()), "smallest": smallest, "smallest_class": count,
        }  # fmt: skip
    return found
