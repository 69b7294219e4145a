"""A task whose classes have as many labelled images, supports, as they like: its classifier, and how sure it may be.

It is solved as an episode of the evaluation is: one logistic regression a level on the supports' unit vectors, their
logits summed with weights. Unlike there, classes may be of unlike sizes: all count the same, or the intercepts, which
nothing regularises, would give the largest class nearly every image. And the probabilities, which so strongly
regularised a classifier puts far too low, are scaled to what it is seen to get right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn import functional as F

from mlcl import logistic
from mlcl.solve import weighted

FOLDS = 10
TINY = 1e-30  # the least probability that is told from zero


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
