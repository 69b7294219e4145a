"""Few-shot tasks: n-way k-shot episodes, drawn once, as arrays of row numbers."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlcl import config
from mlcl.data.naming import comparable
from mlcl.data.packed import Packed
from mlcl.errors import UserError


@dataclass(frozen=True)
class Episodes:
    """E episodes as row numbers of a split's images; both arrays are int64 and hold one class a row of axis 1."""

    support: np.ndarray
    """[E, way, shot]"""
    query: np.ndarray
    """[E, way, queries]"""


def sample(labels: np.ndarray, *, split: str, episodes: int, way: int, shot: int, queries: int, seed: int) -> Episodes:
    """Draw episodes from images with these labels (int [N]).

    The draw depends on the arguments alone, so that every method meets the same episodes. Classes, and images within
    a class, are drawn without replacement; a support image is never a query. Raises `UserError` where the split has
    too few classes or a class has too few images.
    """
    classes, counts = np.unique(labels, return_counts=True)
    check(split, len(classes), counts.min(), way=way, shot=shot, queries=queries)
    rng = np.random.default_rng([seed, zlib.crc32(split.encode()), way, shot, queries])
    chosen = rng.random((episodes, len(classes))).argsort(1)[:, :way]
    rows = _distinct(rng, counts[chosen].ravel(), shot + queries).reshape(episodes, way, shot + queries)
    by_class = np.argsort(labels, kind="stable")  # the images of a class, one after the other
    first = np.cumsum(counts) - counts
    images = by_class[first[chosen][..., None] + rows]
    return Episodes(images[..., :shot], images[..., shot:])


def check(
    split: str, classes: int, smallest_class: int, *, way: int, shot: int, queries: int, smallest: str = ""
) -> None:
    """Raise `UserError` where a split of so many classes, the smallest of so many images, is too small for a task."""
    if classes < way:
        raise UserError(f"split {split} has {classes} classes, fewer than the {way} of way: {way}; lower way")
    if smallest_class < shot + queries:
        raise UserError(
            f"split {split} has a class of {smallest_class} images{smallest and f' ({smallest})'}, fewer than {shot} "
            f"shots plus {queries} queries; lower either, or add images"
        )


def check_tasks(experiment: config.Experiment, name: str, splits: Mapping[str, dict[str, Any]]) -> None:
    """Before hours of training, not after: raise `UserError` where a split of the data set is too small for the tasks
    of the experiment's evaluation, for those of a method's validation, or for its batches; or these too small for the
    GPUs; or a method's views for the images.

    `splits` are as a manifest has them; in older ones the number of images and the smallest class are missing.
    """
    evaluation = experiment.evaluation
    evaluated = sorted({*evaluation.splits} - {"train"})
    tasks = [("evaluation", split, evaluation, max(evaluation.shots)) for split in evaluated]
    images, pixels = splits["train"].get("images", math.inf), experiment.datasets[name].size
    for key, method in experiment.recipes.items() if name in experiment.training_sets else ():
        validation = method.training.validation
        tasks.append((f"{key}: training.validation", "val", validation, validation.shot))
        try:
            method.training.check(images, pixels, experiment.gpus)
        except UserError as error:
            raise UserError(f"config: {key}: {name}: {error}") from None
    for key, split, task, shot in tasks:
        of = splits[split]
        try:
            check(
                split, of["classes"], of["smallest_class"], way=task.way, shot=shot, queries=task.queries,
                smallest=of.get("smallest", ""),
            )  # fmt: skip
        except UserError as error:
            raise UserError(f"config: {key}: {name}: {error}") from None


def check_novel(experiment: config.Experiment, packed: Mapping[str, Packed]) -> None:
    """Before hours of training, too: raise `UserError` where a data set that is solved by another's encoders validates
    or tests on classes that these learn, or may. `packed` may lack what is not there yet."""
    for name, source in experiment.trained_on.items():
        if name in packed and source in packed and packed[name].identity != packed[source].identity:
            base = packed[source].classes.query("split == 'train'")["class"]
            if not comparable((packed[source].source, base), (packed[name].source, packed[name].classes["class"])):
                raise UserError(
                    f"config: trained_on.{name}: whether {source} trains on classes that {name} validates or tests on "
                    "is not to be told, as not both name their classes of ImageNet by WordNet's ids; take files that do"
                )
            if seen := packed[name].novel_among(base):
                raise UserError(
                    f"config: trained_on.{name}: {source} trains on {len(seen)} classes, {seen[0]} among them, that "
                    f"{name} validates or tests on; take encoders trained on other classes"
                )


def _distinct(rng: np.random.Generator, bounds: np.ndarray, k: int) -> np.ndarray:
    """[M, k]: in each row, k distinct integers below its bound, in random order.

    Floyd's algorithm (Bentley and Floyd 1987) on all rows at once: time and memory do not grow with the bounds.
    """
    drawn = np.empty((k, len(bounds)), np.int64)  # a draw a row: each step is one pass over whole rows
    for j in range(k):
        top = bounds - k + j
        candidate = (rng.random(len(bounds)) * (top + 1)).astype(np.int64)
        taken = (drawn[:j] == candidate).any(0)
        drawn[j] = np.where(taken, top, candidate)
    order = rng.random((len(bounds), k)).argsort(1)
    return np.take_along_axis(drawn.T, order, 1)
