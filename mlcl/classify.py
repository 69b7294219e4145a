"""A few-shot classifier of one's own images: trained encoders, a few labelled images of any classes, and new ones."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from mlcl import encoders, hardware, labelled
from mlcl.data import folder, images
from mlcl.embed import BATCH, batches, embed
from mlcl.errors import UserError
from mlcl.files import check_place, replacing
from mlcl.progress import Progress


class Outcome(NamedTuple):
    """What there is to say of images that were named."""

    classes: list[str]
    recognised: dict[str, float]
    """The share of supports that are recognised when they are left out, the mean over the classes, by what: each level,
    the weights, and all levels alike; of several encoders together, and beside them of one alone. Empty where a class
    has one support, which cannot be left out."""
    single: list[str]
    """Those classes."""
    asked: int
    """Images to name."""
    unreadable: list[str]
    """What is wrong with those of them that cannot be read."""
    others: list[Path]
    """Files beside the images, supports or not, that are none."""


def classify(
    models: Sequence[Path], support: Path, queries: Path, weights: Sequence[float], device: torch.device, out: Path
) -> Outcome:
    """Write `out`, a CSV: file, class and its probability for each image below `queries`, or for that one image; both
    empty for an image that cannot be read.

    `support` holds the labelled images as <class>/*; of every image the middle square is taken. `weights` are those of
    the levels, first to last; none stands for the last level alone. Several `models`, such as one method's of several
    seeds, name images by the mean of the probabilities that each gives. Where a class has one support, the
    probabilities stay unscaled.

    Raises `UserError` where a folder holds no images or fewer than two classes, for a support that cannot be read, for
    models of unlike images or numbers of levels, for weights that are not one a level, below 0 or all 0, and where an
    encoder's representations are not finite.
    """
    check_place(out)  # not after all images are seen
    if out.suffix.lower() in images.EXTENSIONS:
        raise UserError(f"{out}: is named as an image is; name a CSV file to write")
    out.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(out.parent, os.W_OK):
        raise UserError(f"{out}: cannot be written, since its folder cannot; name another")
    seers = _load(models, device)
    count = len(seers[0].encoder.spec.levels)
    if weights and (len(weights) != count or min(weights) < 0 or not 0 < sum(weights) < math.inf):
        raise UserError(f"--weights: {models[0]} has {count} levels; give one weight for each, 0 or more, not all 0")
    used = list(weights) or [0] * (count - 1) + [1]
    known, others = folder.listing(support)
    classes = sorted({name for _, name, _ in known})
    if len(classes) < 2:
        raise UserError(f"{support}: holds one class, {classes[0]}; add the folder of another")
    labels = torch.tensor([classes.index(name) for _, name, _ in known])
    asked, more, _ = ([queries], [], []) if queries.is_file() else images.below(queries)
    if not asked:
        raise UserError(f"{queries}: holds no images")
    hardware.keep_memory()
    rows: list[tuple[str, float]] = []
    with Progress(str(out), len(known) + len(asked), "images") as progress, ThreadPoolExecutor() as pool:
        look = _Look(seers, device, pool, progress)
        seen = zip(*look.at([path for *_, path in known]), strict=True)
        supports = [[torch.cat(parts) for parts in zip(*of_batches, strict=True)] for of_batches in seen]
        if look.problems:
            raise UserError(listed(list(look.problems.values())))
        solvers = [labelled.fit(own, labels, len(classes)) for own in supports]
        single = [name for name, count in zip(classes, torch.bincount(labels), strict=True) if count == 1]
        unseen = [] if single else [labelled.left_out(own, labels, len(classes)) for own in supports]
        scale = labelled.temperature(labelled.together(unseen, used), labels) if unseen else 1.0
        for found in look.at(asked):
            answers = [labelled.probabilities(solver, own) for solver, own in zip(solvers, found, strict=True)]
            sure, best = labelled.scaled(labelled.together(answers, used), scale).max(1)
            rows += zip([classes[i] for i in best], sure.tolist(), strict=True)
    _write(
        out, asked, [("", math.nan) if path in look.problems else row for path, row in zip(asked, rows, strict=True)]
    )
    return Outcome(
        classes=classes,
        recognised=_expected(unseen, labels, weights, used) if unseen else {},
        single=single,
        asked=len(asked),
        unreadable=list(look.problems.values()),
        others=others + more,
    )


def _write(out: Path, paths: Sequence[Path], named: Sequence[tuple[str, float]]) -> None:
    rows = [(str(path), *found) for path, found in zip(paths, named, strict=True)]
    # Objects: names of files and folders may be no UTF-8, which pandas' own texts must be.
    table = pd.DataFrame(rows, columns=["file", "class", "probability"], dtype=object).astype({"probability": float})
    with replacing(out) as (temporary,):
        table.to_csv(temporary, index=False, float_format="%.4f", errors="surrogateescape")


class Seer(NamedTuple):
    """An encoder with what it takes to show it images."""

    path: Path
    encoder: encoders.Encoder
    precision: str
    shape: Sequence[int]
    """Of its images: height, width, channels."""

    @property
    def kind(self) -> str:
        return f"{len(self.encoder.spec.levels)} levels for images of {' x '.join(map(str, self.shape))}"

    def see(self, pixels: np.ndarray, device: torch.device) -> list[Tensor]:
        """The unit vectors [n, D_l] of every level, of uint8 images [n, H, W, C], at most a batch."""
        (found,) = embed(self.encoder, batches(pixels, device), device, self.precision)
        if not all(level.isfinite().all() for level in found):
            raise UserError(f"{self.path}: gives features that are not finite; train it again")
        return [F.normalize(level) for level in found]


class _Look:
    """What the encoders see in image files, and what is wrong with those that cannot be read."""

    def __init__(self, seers: Sequence[Seer], device: torch.device, pool: ThreadPoolExecutor, progress: Progress):
        self.seers, self.device, self.pool, self.progress = seers, device, pool, progress
        self.problems: dict[Path, str] = {}

    def at(self, paths: Sequence[Path]) -> Iterator[list[list[Tensor]]]:
        """Batches of unit vectors: of every encoder one [n, D_l] a level; of an image that cannot be read, of black."""
        for start in range(0, len(paths), BATCH):
            part = paths[start : start + BATCH]
            pixels = np.zeros((len(part), *self.seers[0].shape), np.uint8)
            for place, found in enumerate(self.pool.map(self._read, part)):
                if isinstance(found, str):
                    self.problems[part[place]] = found
                else:
                    pixels[place] = found
            yield [seer.see(pixels, self.device) for seer in self.seers]
            self.progress.advance(len(part))

    def _read(self, path: Path) -> np.ndarray | str:
        shape = self.seers[0].shape
        try:
            return images.read(path, size=shape[0], mode="RGB" if shape[-1] == 3 else "L", crop=True)
        except UserError as error:
            return str(error)


def _load(models: Sequence[Path], device: torch.device) -> list[Seer]:
    """Raises `UserError` where they are of unlike images or numbers of levels."""
    seers: list[Seer] = []
    for path in models:
        encoder, made_by = encoders.load(path)
        seers.append(
            Seer(path, encoder.to(device), encoders.recipe(made_by, path).training.precision, made_by["shape"])
        )
        if seers[-1].kind != seers[0].kind:
            raise UserError(f"{path}: has {seers[-1].kind}, and {models[0]} {seers[0].kind}; name models of one method")
    return seers


def _expected(
    unseen: Sequence[Tensor], labels: Tensor, weights: Sequence[float], used: Sequence[float]
) -> dict[str, float]:
    """`Outcome.recognised`, from the probabilities of every encoder's `left_out`."""
    count = len(used)
    by = {f"level {place + 1}": [float(place == other) for other in range(count)] for place in range(count)}
    if weights:
        by[f"weights {', '.join(f'{weight:g}' for weight in weights)}"] = weights
    *_, name = by  # that of the images' names
    by["all levels alike"] = [1] * count
    found = {what: labelled.recognised(labelled.together(unseen, of_levels), labels) for what, of_levels in by.items()}
    if len(unseen) > 1:
        alone = [labelled.recognised(labelled.ensemble(of_levels, used), labels) for of_levels in unseen]
        found[f"{name}, one of the {len(unseen)} models alone, on average"] = float(np.mean(alone))
    return found


def listed(problems: Sequence[str]) -> str:
    """Three of them in a line."""
    more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
    return "; ".join(problems[:3]) + more
