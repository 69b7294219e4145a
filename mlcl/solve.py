"""Features x episodes x classifiers -> scores, for every level and ensemble together.

What levels and classifiers have in common is done once: an episode's images are gathered once, for all levels; the
levels' problems are fitted as one batch; and all classifiers' weights meet the queries in one product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from mlcl.episodes import Episodes
from mlcl.features import Features
from mlcl.representations import CHOSEN, ENSEMBLE, JOINT, WEIGHTED, averaged, level, partial, subset

Classifier = Callable[[Tensor, int], tuple[Tensor, Tensor]]
"""Inner products of supports and the number of classes -> coefficients and biases, as `mlcl.classifiers` has it."""
Weights = Mapping[str, Sequence[float]]
"""Classifier -> the weight of every level."""
Key = TypeVar("Key")

# Bytes of gathered images at a time, and of a chunk's matrices: on the CPU so that they stay in its caches.
BYTES = {"cpu": 4e6, "cuda": 256e6}
MOST = 300  # episodes in a chunk, so that threads find something to share
STRIP = 32


@contextmanager
def one_thread() -> Iterator[None]:
    """Products as small as an episode's take longer when several threads share one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Bank:
    """A split's features on a device, unit vectors at every level once their `scale` is applied."""

    def __init__(self, features: Features, device: torch.device, copies: int = 1):
        """Where an image has several `copies`, they lie one after the other."""
        self.vectors = torch.from_numpy(features.vectors).to(device)
        self.dims, self.copies = features.dims, copies
        with one_thread():
            lengths = [
                torch.stack([level.norm(dim=1) for level in self.levels(block.float())])
                for block in self.vectors.split(1024)
            ]
        self.scale = 1 / torch.cat(lengths, 1).clamp(min=1e-12)  # [levels, N]

    def rows(self, images: np.ndarray) -> Tensor:
        """Episodes' images [E, way, k] -> the rows of all their copies [E, way * k * copies], class after class."""
        copies = images[..., None] * self.copies + np.arange(self.copies)
        return torch.from_numpy(copies).to(self.vectors.device).flatten(1)

    def levels(self, vectors: Tensor) -> Sequence[Tensor]:
        """[..., D_1 + D_2 + ...] -> one [..., D_l] a level."""
        return vectors.split(self.dims, -1)


class Reader:
    """Gathers images of a bank into memory that it uses again: asking for fresh memory costs more than gathering."""

    def __init__(self, bank: Bank, images: int):
        self.bank = bank
        self.stored = bank.vectors.new_empty(images, sum(bank.dims))
        self.vectors = self.stored.new_empty(self.stored.shape, dtype=torch.float32)

    def __call__(self, rows: Tensor) -> Sequence[Tensor]:
        """The images `rows` [E, k] before they are scaled: one float32 [E, k, D_l] a level, until the next call."""
        stored, vectors = self.stored[: rows.numel()], self.vectors[: rows.numel()]
        torch.index_select(self.bank.vectors, 0, rows.flatten(), out=stored)
        return self.bank.levels(vectors.copy_(stored).view(*rows.shape, -1))


def accuracies(
    bank: Bank,
    episodes: Episodes,
    classifiers: Mapping[str, Classifier],
    support: Bank | None = None,
    threads: int = 1,
    advance: Callable[[int], None] = lambda episodes: None,
    subsets: bool = False,
    weights: Weights | None = None,
) -> dict[tuple[str, str], np.ndarray]:
    """(classifier, representation) -> accuracies [E], for each of the `classifiers`, level and ensemble, with
    `subsets` for the ensembles of some levels too, and with `weights` for all levels by these.

    The episodes are met chunk by chunk, so that memory stays constant however many there are, and `threads` chunks at
    a time, each on one thread. The chunks, and so the result, do not depend on the number of threads. `advance` is told
    of every chunk done.
    """

    def measured(some: Episodes) -> dict[tuple[str, str], Tensor]:
        solved = solve(bank, some, classifiers, support, subsets, weights)
        return {(name, representation): accuracy(scores) for name, representation, scores in solved}

    found = _chunks(measured, bank, episodes, len(classifiers), support, threads, advance)
    return {key: values.numpy() for key, values in found.items()}


class Member(NamedTuple):
    """One encoder of those that solve tasks together."""

    bank: Bank
    support: Bank | None
    weights: Weights | None
    """Of its levels, if they are weighted."""
    chosen: Mapping[str, str] | None
    """Classifier -> the representation that was chosen for it, if one was."""


def together(
    members: Sequence[Member],
    episodes: Episodes,
    classifiers: Mapping[str, Classifier],
    threads: int = 1,
    advance: Callable[[int], None] = lambda episodes: None,
    subsets: bool = False,
) -> dict[tuple[str, str], np.ndarray]:
    """As `accuracies`, by the mean of the class probabilities that the `members`, of the same levels, give by a
    representation; where they have `chosen` ones, by these, each by its own, too."""

    def measured(some: Episodes) -> dict[tuple[str, str], Tensor]:
        summed: dict[tuple[str, str], Tensor] = {}
        for bank, support, weights, chosen in members:
            found = {  # in float64, where no two logits share a probability
                (name, representation): scores.double() if averaged(representation) else scores.double().softmax(1)
                for name, representation, scores in solve(bank, some, classifiers, support, subsets, weights)
            }
            found |= {(name, CHOSEN): found[name, representation] for name, representation in (chosen or {}).items()}
            for key, probabilities in found.items():
                summed[key] = summed[key] + probabilities if key in summed else probabilities
        return {key: accuracy(probabilities) for key, probabilities in summed.items()}

    bank, support, *_ = members[0]
    found = _chunks(measured, bank, episodes, len(classifiers), support, threads, advance)
    return {key: values.numpy() for key, values in found.items()}


def logits(
    bank: Bank,
    episodes: Episodes,
    classifiers: Mapping[str, Classifier],
    threads: int,
    advance: Callable[[int], None],
) -> dict[str, Tensor]:
    """Classifier -> [levels, E, way, m], the scores of every level; the rest is as in `accuracies`."""
    levels = [level(number) for number in range(1, len(bank.dims) + 1)]

    def scored(some: Episodes) -> dict[str, Tensor]:
        found = {(name, representation): scores for name, representation, scores in solve(bank, some, classifiers)}
        return {name: torch.stack([found[name, each] for each in levels]) for name in classifiers}

    return _chunks(scored, bank, episodes, len(classifiers), None, threads, advance, along=1)


def _chunks(
    meet: Callable[[Episodes], dict[Key, Tensor]],
    bank: Bank,
    episodes: Episodes,
    classifiers: int,
    support: Bank | None,
    threads: int,
    advance: Callable[[int], None],
    along: int = 0,
) -> dict[Key, Tensor]:
    """What `meet` gives for the episodes, chunk by chunk, on the CPU; put together `along` the episodes' dimension."""
    (count, way, shot), queries = episodes.support.shape, episodes.query.shape[2]
    supports, levels = way * shot * (support or bank).copies, len(bank.dims)
    numbers = (levels + (levels > 1)) * (supports**2 + classifiers * way * (supports + way * queries))
    size = min(max(1, int(BYTES[bank.vectors.device.type] / (4 * numbers))), MOST)

    def chunk(start: int) -> dict[Key, Tensor]:
        some = Episodes(episodes.support[start : start + size], episodes.query[start : start + size])
        return {key: found.cpu() for key, found in meet(some).items()}

    starts, chunks = range(0, count, size), []
    with one_thread(), ThreadPoolExecutor(threads) as pool:
        # A thread of one's own would start with empty memory: not for one.
        for start, found in zip(starts, (pool.map if threads > 1 else map)(chunk, starts), strict=True):
            chunks.append(found)
            advance(min(size, count - start))
    return {key: torch.cat([found[key] for found in chunks], along) for key in chunks[0]}


def accuracy(scores: Tensor) -> Tensor:
    """[E]: the share of an episode's queries whose own class has the highest of the scores [E, way, m].

    The queries lie class after class; of equal scores the first class's counts.
    """
    way, m = scores.shape[1:]
    answers = torch.arange(way, device=scores.device).repeat_interleave(m // way)
    return (scores.mT.contiguous().argmax(-1) == answers).double().mean(-1)


def solve(
    bank: Bank,
    episodes: Episodes,
    classifiers: Mapping[str, Classifier],
    support: Bank | None = None,
    subsets: bool = False,
    weights: Weights | None = None,
) -> Iterator[tuple[str, str, Tensor]]:
    """(classifier, representation, scores [E, way, m]) for each of the `classifiers`, level and ensemble.

    Scores are logits, or probabilities for `mean_probability`, the mean of the levels' class probabilities, and for
    `subsets`, the means of some levels' probabilities. With `weights` the levels' logits are summed by them, too.
    `concatenate` classifies the levels' unit vectors end to end, scaled to unit length again: its inner products are
    the mean of the levels'. The supports come from the bank `support` where they have features of their own.
    """
    support, way = support or bank, episodes.support.shape[1]
    support_rows, query_rows = support.rows(episodes.support), bank.rows(episodes.query)
    grams = _grams(support, support_rows)
    levels = len(grams)
    if levels > 1:  # of one level, both ensembles are that level
        grams = torch.cat([grams, grams.mean(0, keepdim=True)])
    fitted = [fit(grams.flatten(0, 1), way) for fit in classifiers.values()]
    coefficients, biases = (
        torch.stack(parts, 1).unflatten(0, grams.shape[:2]).flatten(2, 3) for parts in zip(*fitted, strict=True)
    )  # [levels or levels + 1, E, classifiers * way, n or 1]
    own, joint = _products(support, support_rows, bank, query_rows, coefficients)
    own = (own + biases[:levels]).unflatten(2, (-1, way))
    joint = (joint + biases[-1]).unflatten(1, (-1, way))
    for i, name in enumerate(classifiers):
        for place in range(levels):
            yield name, level(place + 1), own[place, :, i]
        probabilities = own[:, :, i].softmax(2)
        yield name, JOINT, joint[:, i]
        yield name, ENSEMBLE, probabilities.mean(0)
        for chosen in partial(range(1, levels + 1)) if subsets else []:
            yield name, subset(chosen), probabilities[[number - 1 for number in chosen]].mean(0)
        if weights:
            yield name, WEIGHTED, weighted(own[:, :, i], weights[name])


def weighted(logits: Tensor, weights: Sequence[float]) -> Tensor:
    """[...]: the weighted sum over the levels of `logits` [levels, ...]."""
    return torch.tensordot(logits.new_tensor(weights), logits, 1)


def _grams(support: Bank, rows: Tensor) -> Tensor:
    """[levels, E, n, n]: the inner products of every episode's supports."""
    episodes, n = rows.shape
    grams = support.scale.new_empty(len(support.dims), episodes, n, n)
    size = _block(support, n)
    read = Reader(support, size * n)
    for some, out in zip(rows.split(size), grams.split(size, 1), strict=True):
        for vectors, gram in zip(read(some), out, strict=True):
            _square(vectors, gram)
    scale = support.scale[:, rows]
    return grams.mul_(scale[..., :, None]).mul_(scale[..., None, :])


def _square(vectors: Tensor, out: Tensor) -> None:
    """vectors [E, n, D] @ their transpose, in strips that leave out most of the upper half where n is large."""
    for start in range(0, vectors.shape[1], STRIP):
        rows, known = slice(start, start + STRIP), slice(start + STRIP)
        strip = vectors[:, rows] @ vectors[:, known].mT
        out[:, rows, known] = strip
        out[:, :start, rows] = strip[:, :, :start].mT


def _products(
    support: Bank, support_rows: Tensor, bank: Bank, query_rows: Tensor, coefficients: Tensor
) -> tuple[Tensor, Tensor]:
    """The queries' inner products with the weights that `coefficients` [levels or levels + 1, E, k, n] give.

    Each level's with its own weights, [levels, E, k, m], and the mean of the levels' with the last weights, [E, k, m].
    """
    levels, n, m, k = len(bank.dims), support_rows.shape[1], query_rows.shape[1], coefficients.shape[2]
    if len(coefficients) > levels:
        coefficients = torch.cat([coefficients[:levels], coefficients[levels:].expand(levels, -1, -1, -1)], 2)
    coefficients = coefficients * support.scale[:, support_rows][:, :, None]
    products = coefficients.new_empty(*coefficients.shape[:3], m)
    size = _block(bank, n + m)
    read_supports, read_queries = Reader(support, size * n), Reader(bank, size * m)
    parts = [support_rows.split(size), query_rows.split(size), coefficients.split(size, 1), products.split(size, 1)]
    for supports, queries, weights, out in zip(*parts, strict=True):
        for s, q, w, o in zip(read_supports(supports), read_queries(queries), weights, out, strict=True):
            if w.shape[1] < n:  # whichever order of the two products is cheaper
                torch.bmm(w @ s, q.mT, out=o)
            else:
                torch.bmm(w, s @ q.mT, out=o)
    products *= bank.scale[:, query_rows][:, :, None]
    return products[:, :, :k], products[:, :, -k:].mean(0)


def _block(bank: Bank, images: int) -> int:
    """How many episodes, of so many images each, have BYTES of features."""
    return max(1, int(BYTES[bank.vectors.device.type] / (4 * images * sum(bank.dims))))
