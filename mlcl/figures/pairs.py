"""Which two unseen classes are hardest to tell apart from one image each, and which easiest."""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlcl import seeds, solve
from mlcl.centroids import nearest_centroid
from mlcl.episodes import Episodes, check, sample
from mlcl.features import Features
from mlcl.figures.pictures import canvas, put, thumbnails
from mlcl.figures.style import drawn, short, styled
from mlcl.figures.unseen import Unseen, rng

PAIRS = 2_000  # at most; more are sampled
TASKS, QUERIES = 20, 15  # of each pair: tasks, and queries a class
SHOWN, EXAMPLES = 4, 3  # pairs at either end, images of each class
CELL = 0.42  # inches a picture


class Pairs(NamedTuple):
    classes: np.ndarray
    """int [P, 2]: pairs of labels, ascending."""
    episodes: Episodes
    """Of all pairs, `TASKS` of each, one pair after the other: 2-way, 1-shot."""


def drawn_pairs(labels: np.ndarray, split: str) -> Pairs:
    """The tasks of all pairs of classes or, of more than `PAIRS`, of so many drawn at random.

    Raises `UserError` where a class has a single image, or the split a single class.
    """
    rows = {label: np.flatnonzero(labels == label) for label in np.unique(labels)}
    smallest = min(map(len, rows.values()))
    check(split, len(rows), smallest, way=2, shot=1, queries=1)
    pairs = np.array(list(combinations(rows, 2)))
    if len(pairs) > PAIRS:
        pairs = pairs[np.sort(rng("pairs").permutation(len(pairs))[:PAIRS])]
    shape = {"split": split, "episodes": TASKS, "way": 2, "shot": 1, "queries": min(QUERIES, smallest - 1)}
    parts = []
    for first, second in pairs:
        both = np.concatenate([rows[first], rows[second]])
        tasks = sample(labels[both], **shape, seed=seeds.derive(0, "figures", "pairs", int(first), int(second)))
        parts.append((both[tasks.support], both[tasks.query]))
    return Pairs(pairs, Episodes(*map(np.concatenate, zip(*parts, strict=True))))


def accuracies(features: Features, pairs: Pairs) -> np.ndarray:
    """Of every pair [P], the mean accuracy in percent of its tasks at the last level, by the nearest centroid."""
    last = Features(np.ascontiguousarray(features.levels[-1]), features.dims[-1:])
    found = solve.accuracies(
        solve.Bank(last, torch.device("cpu")), pairs.episodes, {"nearest_centroid": nearest_centroid}
    )
    return 100 * found["nearest_centroid", "level1"].reshape(-1, TASKS).mean(1)


def draw(unseen: Unseen) -> dict[str, bytes]:
    """The hardest pairs on the left, the easiest on the right, with images of both classes: a block of rows a method.

    Returns the bytes of an SVG and a PNG. Raises `UserError` as `drawn_pairs` does.
    """
    pairs = drawn_pairs(unseen.split.labels, unseen.name)
    shown = min(SHOWN, len(pairs.classes))
    half = 2 * EXAMPLES + 2.4
    width, block = 2 * half, shown * 1.45 + 1.4
    count = len(unseen.features) * shown * 4 * EXAMPLES
    with styled():
        size = CELL * width, CELL * block * len(unseen.features)
        figure = Figure(figsize=size, dpi=150, layout="constrained")
        axes = figure.subplots()
        canvas(axes, width, block * len(unseen.features))
        for place, (title, features) in enumerate(unseen.features.items()):
            found, top = accuracies(features, pairs), place * block
            order = np.argsort(found, kind="stable")
            best = f"easiest pairs ({(found == found.max()).sum():,} of {len(found):,} at {found.max():.1f}%)"
            axes.text(0, top + 0.3, title, va="center", weight="bold")
            axes.text(0, top + 0.85, "hardest pairs", va="center")
            axes.text(half, top + 0.85, best, va="center")
            for left, some in (0, order[:shown]), (half, order[::-1][:shown]):
                for row, pair in enumerate(some):
                    y = top + 1.5 + 1.45 * row
                    _pair(axes, unseen, pairs.classes[pair], found[pair], left, y, count)
        return drawn(figure)


def _pair(axes: Axes, unseen: Unseen, pair: np.ndarray, accuracy: float, left: float, y: float, count: int) -> None:
    """Images of both classes under their names, and how often they are told apart."""
    for place, label in enumerate(pair):
        x = left + place * (EXAMPLES + 0.3)
        own = np.flatnonzero(unseen.split.labels == label)
        rows = own[np.linspace(0, len(own) - 1, min(EXAMPLES, len(own))).astype(int)]
        axes.text(x, y - 0.04, short(unseen.split.classes[label], 16), va="bottom", fontsize="x-small")
        for column, picture in enumerate(thumbnails(unseen.split.images[rows], count)):
            put(axes, picture, x + column, y)
    axes.text(left + 2 * EXAMPLES + 0.45, y + 0.46, f"{accuracy:.1f}%", va="center")
