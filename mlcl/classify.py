"""A few-shot classifier of one's own images: a trained encoder, a few labelled images of any classes, and new ones.

A task is solved as an episode of the evaluation is: one logistic regression a level on the supports' unit vectors, the
class probabilities of several levels averaged. Unlike there, classes may have as many supports as they like: all weigh
the same, or the intercepts, which nothing regularises, would give the largest class nearly every image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from mlcl import config, encoders, features, hardware, logistic
from mlcl.data import folder, images
from mlcl.errors import UserError
from mlcl.files import replacing
from mlcl.progress import Progress

FOLDS = 10


def classify(
    model: Path, support: Path, queries: Path, levels: Sequence[int], device: torch.device, out: Path
) -> dict[tuple[int, ...], float]:
    """Write `out`, a CSV: file, class and its probability for each image below `queries`, or for that one image.

    `support` holds the labelled images as <class>/*; of every image the middle square is taken. `levels` are those
    whose probabilities are averaged; none stands for the last. Returns `cross_validated`'s accuracies, to choose levels
    by. Raises `UserError` where a folder holds no images or fewer than two classes, for an image that cannot be read,
    and for a level that the encoder does not have.
    """
    encoder, made_by = encoders.load(model)
    for level in levels:
        if level not in encoder.spec.levels:
            raise UserError(f"--levels: {model} has no level {level}; its last is {encoder.spec.levels[-1]}")
    chosen = sorted(set(levels)) or [encoder.spec.levels[-1]]
    labelled = folder.listing(support)
    classes = sorted({name for _, name, _ in labelled})
    if len(classes) < 2:
        raise UserError(f"{support}: holds one class, {classes[0]}; add the folder of another")
    labels = torch.tensor([classes.index(name) for _, name, _ in labelled])
    asked = [queries] if queries.is_file() else images.below(queries)
    if not asked:
        raise UserError(f"{queries}: holds no images")
    height, _, channels = made_by["shape"]
    decode = partial(images.read, size=height, mode="RGB" if channels == 3 else "L", crop=True)
    precision = config.Method.model_validate(made_by["method"]).training.precision
    hardware.keep_memory()
    encoder.to(device)
    rows = []
    with Progress(str(out), len(labelled) + len(asked), "images") as progress, ThreadPoolExecutor() as pool:

        def vectors(paths: list[Path]) -> Iterator[list[Tensor]]:
            """Batches of unit vectors, one [n, D_l] a level."""
            for start in range(0, len(paths), features.BATCH):
                pixels = np.stack(list(pool.map(decode, paths[start : start + features.BATCH])))
                for found in features.embed(encoder, features.batches(pixels, device), device, precision):
                    progress.advance(len(pixels))
                    yield [F.normalize(level) for level in found]

        supports = [torch.cat(parts) for parts in zip(*vectors([path for *_, path in labelled]), strict=True)]
        solver = fit(supports, labels, len(classes))
        for found in vectors(asked):
            sure, best = ensemble(probabilities(solver, found), chosen).max(1)
            rows += zip([classes[i] for i in best], sure.tolist(), strict=True)
    table = pd.DataFrame(rows, columns=["class", "probability"])
    table.insert(0, "file", [str(path) for path in asked])
    with replacing(out) as (temporary,):
        table.to_csv(temporary, index=False, float_format="%.4f")
    return cross_validated(supports, labels, len(classes), chosen)


def cross_validated(
    supports: list[Tensor], labels: Tensor, way: int, chosen: Sequence[int]
) -> dict[tuple[int, ...], float]:
    """The share of supports that are recognised when they are left out, the mean over the classes.

    By every level, by `chosen`, by all levels. `supports` are unit vectors, one [n, D_l] a level, `labels` [n]. At most
    ten times a part is left out, of every class alike. Empty where a class has one support, for what is left would not
    know it.
    """
    counts = torch.bincount(labels)
    if counts.min() < 2:
        return {}
    place = F.one_hot(labels).cumsum(0)[range(len(labels)), labels] - 1  # of every support in its class
    folds = min(FOLDS, int(place.max()) + 1)
    each = range(1, len(supports) + 1)
    ensembles = dict.fromkeys([*((level,) for level in each), tuple(chosen), tuple(each)], 0.0)
    for fold in range(folds):
        out = place % folds == fold
        solver = fit([level[~out] for level in supports], labels[~out], way)
        of_levels = probabilities(solver, [level[out] for level in supports])
        for some in ensembles:
            right = ensemble(of_levels, some).argmax(1) == labels[out]
            ensembles[some] += float((right / counts[labels[out]]).sum()) / way
    return ensembles


def fit(supports: list[Tensor], labels: Tensor, way: int) -> list[tuple[Tensor, Tensor]]:
    """Weights [way, D_l] and intercepts [way, 1] of every level, from unit vectors [n, D_l] of supports."""
    targets = F.one_hot(labels, way).T.float()
    targets *= len(labels) / way / targets.sum(1, keepdim=True)  # one on average
    coefficients, intercepts = logistic.fit(torch.stack([level @ level.T for level in supports]), targets)
    return [(a @ level, b) for a, level, b in zip(coefficients, supports, intercepts, strict=True)]


def probabilities(solver: list[tuple[Tensor, Tensor]], queries: list[Tensor]) -> Tensor:
    """[levels, m, way] of queries' unit vectors, one [m, D_l] a level."""
    return torch.stack([(w @ level.T + b).softmax(0).T for (w, b), level in zip(solver, queries, strict=True)])


def ensemble(of_levels: Tensor, levels: Sequence[int]) -> Tensor:
    """[m, way]: the mean over some levels of the probabilities [levels, m, way]; levels count from 1."""
    return of_levels[[level - 1 for level in levels]].mean(0)
