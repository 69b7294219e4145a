"""A few-shot classifier of one's own images: a trained encoder, a few labelled images of any classes, and new ones.

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
    the weights, and all levels alike. Empty where a class has one support, which cannot be left out."""
    single: list[str]
    """Those classes."""
    asked: int
    """Images to name."""
    unreadable: list[str]
    """What is wrong with those of them that cannot be read."""
    others: list[Path]
    """Files beside the images, supports or not, that are none."""


def classify(
    model: Path, support: Path, queries: Path, weights: Sequence[float], device: torch.device, out: Path
) -> Outcome:
    """Write `out`, a CSV: file, class and its probability for each image below `queries`, or for that one image; both
    empty for an image that cannot be read.

    `support` holds the labelled images as <class>/*; of every image the middle square is taken. `weights` are those of
    the levels, first to last; none stands for the last level alone. Where a class has one support, the probabilities
    stay unscaled.

    Raises `UserError` where a folder holds no images or fewer than two classes, for a support that cannot be read, for
    weights that are not one a level, below 0 or all 0, and where the encoder's representations are not finite.
    """
    if out.is_dir():  # not after all images are seen
        raise UserError(f"{out}: is a folder; name a CSV file to write")
    out.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(out.parent, os.W_OK):
        raise UserError(f"{out}: cannot be written, since its folder cannot; name another")
    encoder, made_by = encoders.load(model)
    count = len(encoder.spec.levels)
    if weights and (len(weights) != count or min(weights) < 0 or not 0 < sum(weights) < math.inf):
        raise UserError(f"--weights: {model} has {count} levels; give one weight for each, 0 or more, not all 0")
    used = list(weights) or [0] * (count - 1) + [1]
    labelled, others = folder.listing(support)
    classes = sorted({name for _, name, _ in labelled})
    if len(classes) < 2:
        raise UserError(f"{support}: holds one class, {classes[0]}; add the folder of another")
    labels = torch.tensor([classes.index(name) for _, name, _ in labelled])
    asked, more, _ = ([queries], [], []) if queries.is_file() else images.below(queries)
    if not asked:
        raise UserError(f"{queries}: holds no images")
    height, _, channels = made_by["shape"]
    problems: dict[Path, str] = {}  # what is wrong with the images that cannot be read

    def read(path: Path) -> np.ndarray:
        try:
            return images.read(path, size=height, mode="RGB" if channels == 3 else "L", crop=True)
        except UserError as error:
            problems[path] = str(error)
            return np.zeros(made_by["shape"], np.uint8)

    precision = encoders.recipe(made_by, model).training.precision
    hardware.keep_memory()
    encoder.to(device)
    rows = []
    with Progress(str(out), len(labelled) + len(asked), "images") as progress, ThreadPoolExecutor() as pool:

        def vectors(paths: list[Path]) -> Iterator[list[Tensor]]:
            """Batches of unit vectors, one [n, D_l] a level."""
            for start in range(0, len(paths), BATCH):
                pixels = np.stack(list(pool.map(read, paths[start : start + BATCH])))
                for found in embed(encoder, batches(pixels, device), device, precision):
                    if not all(level.isfinite().all() for level in found):
                        raise UserError(f"{model}: gives features that are not finite; train it again")
                    progress.advance(len(pixels))
                    yield [F.normalize(level) for level in found]

        supports = [torch.cat(parts) for parts in zip(*vectors([path for *_, path in labelled]), strict=True)]
        if problems:
            raise UserError(listed([problems[path] for *_, path in labelled if path in problems]))
        solver, unseen = fit(supports, labels, len(classes)), left_out(supports, labels, len(classes))
        scale = 1.0 if unseen is None else temperature(ensemble(unseen, used), labels)
        for found in vectors(asked):
            sure, best = scaled(ensemble(probabilities(solver, found), used), scale).max(1)
            rows += zip([classes[i] for i in best], sure.tolist(), strict=True)
    table = pd.DataFrame(rows, columns=["class", "probability"])
    table.loc[[path in problems for path in asked]] = "", math.nan
    # A file's name may be no UTF-8, which pandas' own texts must be.
    table.insert(0, "file", pd.Series([str(path) for path in asked], dtype=object))
    with replacing(out) as (temporary,):
        table.to_csv(temporary, index=False, float_format="%.4f", errors="surrogateescape")
    by = {}
    if unseen is not None:
        by = {f"level {i}": found for i, found in enumerate(unseen, 1)}
        if weights:
            by[f"weights {', '.join(f'{weight:g}' for weight in weights)}"] = ensemble(unseen, weights)
        by["all levels alike"] = ensemble(unseen, [1] * count)
    return Outcome(
        classes=classes,
        recognised={name: recognised(found, labels) for name, found in by.items()},
        single=[name for name, supports in zip(classes, torch.bincount(labels), strict=True) if supports == 1],
        asked=len(asked),
        unreadable=[problems[path] for path in asked if path in problems],
        others=others + more,
    )


def listed(problems: Sequence[str], most: int = 3) -> str:
    """Some of them in a line."""
    more = f"; and {len(problems) - most} more" if len(problems) > most else ""
    return "; ".join(problems[:most]) + more


def left_out(supports: list[Tensor], labels: Tensor, way: int) -> Tensor | None:
    """[levels, n, way]: the probabilities of every support by a classifier that does not know it.

    `supports` are unit vectors, one [n, D_l] a level, `labels` [n]. At most ten times a part is left out, of every
    class alike. None where a class has one support, for what is left would not know it.
    """
    if torch.bincount(labels).min() < 2:
        return None
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
    targets = F.one_hot(labels, way).T.float()
    targets *= len(labels) / way / targets.sum(1, keepdim=True)  # one on average
    coefficients, intercepts = logistic.fit(torch.stack([level @ level.T for level in supports]), targets)
    return [(a @ level, b) for a, level, b in zip(coefficients, supports, intercepts, strict=True)]


def probabilities(solver: list[tuple[Tensor, Tensor]], queries: list[Tensor]) -> Tensor:
    """[levels, m, way] of queries' unit vectors, one [m, D_l] a level."""
    return torch.stack([(w @ level.T + b).softmax(0).T for (w, b), level in zip(solver, queries, strict=True)])


def ensemble(of_levels: Tensor, weights: Sequence[float]) -> Tensor:
    """[m, way]: the levels' probabilities [levels, m, way] pooled, in proportion to the product of their powers."""
    return weighted(_logits(of_levels), [weight / sum(weights) for weight in weights]).softmax(1)
