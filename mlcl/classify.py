"""A few-shot classifier of one's own images: trained encoders, a few labelled images of any classes, and new ones.

A task is solved as an episode of the evaluation is: one logistic regression a level on the supports' unit vectors,
their logits summed with weights. Unlike there, classes may have as many supports as they like: all classes count the
same, or the intercepts, which nothing regularises, would give the largest class nearly every image. And the
probabilities, which so strongly regularised a classifier puts far too low, are scaled to what it is seen to get
right.
"""

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
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn import functional as F

from mlcl import encoders, hardware, logistic
from mlcl.data import folder, images
from mlcl.embed import BATCH, batches, embed
from mlcl.errors import UserError
from mlcl.files import replacing
from mlcl.progress import Progress
from mlcl.solve import weighted

FOLDS = 10
TINY = 1e-30  # the least probability that is told from zero


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
    if out.is_dir():  # not after all images are seen
        raise UserError(f"{out}: is a folder; name a CSV file to write")
    out.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(out.parent, os.W_OK):
        raise UserError(f"{out}: cannot be written, since its folder cannot; name another")
    seers = _load(models, device)
    count, shape = len(seers[0].encoder.spec.levels), seers[0].shape
    if weights and (len(weights) != count or min(weights) < 0 or not 0 < sum(weights) < math.inf):
        raise UserError(f"--weights: {models[0]} has {count} levels; give one weight for each, 0 or more, not all 0")
    used = list(weights) or [0] * (count - 1) + [1]
    labelled, others = folder.listing(support)
    classes = sorted({name for _, name, _ in labelled})
    if len(classes) < 2:
        raise UserError(f"{support}: holds one class, {classes[0]}; add the folder of another")
    labels = torch.tensor([classes.index(name) for _, name, _ in labelled])
    asked, more, _ = ([queries], [], []) if queries.is_file() else images.below(queries)
    if not asked:
        raise UserError(f"{queries}: holds no images")
    problems: dict[Path, str] = {}  # what is wrong with the images that cannot be read

    def read(path: Path) -> np.ndarray:
        try:
            return images.read(path, size=shape[0], mode="RGB" if shape[-1] == 3 else "L", crop=True)
        except UserError as error:
            problems[path] = str(error)
            return np.zeros(shape, np.uint8)

    hardware.keep_memory()
    rows = []
    with Progress(str(out), len(labelled) + len(asked), "images") as progress, ThreadPoolExecutor() as pool:

        def vectors(paths: list[Path]) -> Iterator[list[list[Tensor]]]:
            """Batches of unit vectors: of every encoder one [n, D_l] a level."""
            for start in range(0, len(paths), BATCH):
                pixels = np.stack(list(pool.map(read, paths[start : start + BATCH])))
                yield [seer.see(pixels, device) for seer in seers]
                progress.advance(len(pixels))

        seen = zip(*vectors([path for *_, path in labelled]), strict=True)
        supports = [[torch.cat(parts) for parts in zip(*of_batches, strict=True)] for of_batches in seen]
        if problems:
            raise UserError(listed([problems[path] for *_, path in labelled if path in problems]))
        solvers = [fit(own, labels, len(classes)) for own in supports]
        single = [name for name, count in zip(classes, torch.bincount(labels), strict=True) if count == 1]
        unseen = [] if single else [left_out(own, labels, len(classes)) for own in supports]
        scale = temperature(together(unseen, used), labels) if unseen else 1.0
        for found in vectors(asked):
            answers = [probabilities(solver, own) for solver, own in zip(solvers, found, strict=True)]
            sure, best = scaled(together(answers, used), scale).max(1)
            rows += zip([classes[i] for i in best], sure.tolist(), strict=True)
    named = [
        (str(path), *(("", math.nan) if path in problems else found)) for path, found in zip(asked, rows, strict=True)
    ]
    # Objects: names of files and folders may be no UTF-8, which pandas' own texts must be.
    table = pd.DataFrame(named, columns=["file", "class", "probability"], dtype=object).astype({"probability": float})
    with replacing(out) as (temporary,):
        table.to_csv(temporary, index=False, float_format="%.4f", errors="surrogateescape")
    return Outcome(
        classes=classes,
        recognised=_expected(unseen, labels, weights, used) if unseen else {},
        single=single,
        asked=len(asked),
        unreadable=[problems[path] for path in asked if path in problems],
        others=others + more,
    )


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
    found = {what: recognised(together(unseen, of_levels), labels) for what, of_levels in by.items()}
    if len(unseen) > 1:
        alone = [recognised(ensemble(of_levels, used), labels) for of_levels in unseen]
        found[f"{name}, one of the {len(unseen)} models alone, on average"] = float(np.mean(alone))
    return found


def listed(problems: Sequence[str]) -> str:
    """Three of them in a line."""
    more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
    return "; ".join(problems[:3]) + more


def left_out(supports: list[Tensor], labels: Tensor, way: int) -> Tensor:
    """[levels, n, way]: the probabilities of every support by a classifier that does not know it.

    `supports` are unit vectors, one [n, D_l] a level, `labels` [n], each at least twice. At most ten times a part is
    left out, of every class alike.
    """
    place = F.one_hot(labels).cumsum(0)[range(len(labels)), labels] - 1  # of every support in its class
    folds = min(FOLDS, int(place.max()) + 1)
    found = torch.empty(len(supports), len(labels), way)
    for fold in range(folds):
        out = place % folds == fold
        solver = fit([level[~out] for level in supports], labels[~out], way)
        found[:, out] = probabilities(solver, [level[out] for level in supports])
    return found


def recognised(found: Tensor, labels: Tensor) -> float:
    """The share of images [n] whose class has the highest probability of `found` [n, way], the mean over classes."""
    right = found.argmax(1) == labels
    return float(right.double() @ _equal(labels))


def temperature(found: Tensor, labels: Tensor) -> float:
    """T in [0.01, 10] at which probabilities [n, way] say most of the labels [n] (Guo et al. 2017, section 4.2).

    It minimises the negative log-likelihood, the mean over the classes. One support more that might be of any class
    is reckoned with, as Platt (1999) does: where all are recognised, nothing would be too sure.
    """
    logits, doubt = _logits(found.double()), 1 / (len(labels) + 1)

    def cost(log: float) -> float:
        each = F.cross_entropy(logits / math.exp(log), labels, reduction="none", label_smoothing=doubt)
        return float(each @ _equal(labels))

    return math.exp(minimize_scalar(cost, bounds=(math.log(0.01), math.log(10)), method="bounded").x)


def scaled(found: Tensor, scale: float) -> Tensor:
    """Probabilities [n, way] at a temperature: proportional to their power 1 / `scale`."""
    return (_logits(found) / scale).softmax(1)


def _logits(found: Tensor) -> Tensor:
    return found.clamp(min=TINY).log()


def _equal(labels: Tensor) -> Tensor:
    """float64 [n]: weights of one in all that give every class of `labels` the same."""
    counts = torch.bincount(labels)
    return 1 / (counts[labels] * len(counts)).double()


def fit(supports: list[Tensor], labels: Tensor, way: int) -> list[tuple[Tensor, Tensor]]:
    """Weights [way, D_l] and intercepts [way, 1] of every level, from unit vectors [n, D_l] of supports."""
    targets = F.one_hot(labels, way).T.double()
    targets *= len(labels) / way / targets.sum(1, keepdim=True)  # one on average
    solved = []
    for level in supports:
        # One support against thousands has their weight together: single precision would not see the rest.
        vectors = level.double()
        (coefficients,), (intercepts,) = logistic.fit(Gram(vectors), targets)
        solved.append(((coefficients @ vectors).float(), intercepts.float()))
    return solved


class Gram:
    """The inner products of vectors [n, D], [1, n, n], by which others can be multiplied: of many vectors they would
    not fit into memory."""

    def __init__(self, vectors: Tensor):
        self.vectors, self.shape = vectors, (1, len(vectors), len(vectors))

    def __rmatmul__(self, other: Tensor) -> Tensor:
        return other @ self.vectors @ self.vectors.T


def probabilities(solver: list[tuple[Tensor, Tensor]], queries: list[Tensor]) -> Tensor:
    """[levels, m, way] of queries' unit vectors, one [m, D_l] a level."""
    return torch.stack([(w @ level.T + b).softmax(0).T for (w, b), level in zip(solver, queries, strict=True)])


def ensemble(of_levels: Tensor, weights: Sequence[float]) -> Tensor:
    """[m, way]: the levels' probabilities [levels, m, way] pooled, in proportion to the product of their powers."""
    return weighted(_logits(of_levels), [weight / sum(weights) for weight in weights]).softmax(1)


def together(of_encoders: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """[m, way]: the mean over encoders of what `ensemble` makes of each one's [levels, m, way]."""
    return torch.stack([ensemble(of_levels, weights) for of_levels in of_encoders]).mean(0)
