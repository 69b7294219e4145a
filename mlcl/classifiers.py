"""Few-shot classifiers, each fitted to many episodes at once, from inner products alone.

Every classifier here is linear in an image x, and its weights are a combination of the supports x_i. From the
supports' inner products `gram` [B, n, n] of B problems, supports class after class, n = way * shot, a classifier gives

    coefficients [B, way, n] and biases [B, way, 1]:   logit_k(x) = sum over i of coefficients_ki <x_i, x> + bias_k

so that an episode costs products with a few vectors, however many images or dimensions it has.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mlcl import logistic


def accuracy(scores: Tensor) -> Tensor:
    """[E]: the share of an episode's queries whose own class has the highest of the scores [E, way, m].

    The queries lie class after class; of equal scores the first class's counts.
    """
    way, m = scores.shape[1:]
    answers = torch.arange(way, device=scores.device).repeat_interleave(m // way)
    return (scores.mT.contiguous().argmax(-1) == answers).double().mean(-1)


def logistic_regression(gram: Tensor, way: int) -> tuple[Tensor, Tensor]:
    """L2-regularised with C = 1, as in RFS (Tian et al. 2020)."""
    return logistic.fit(gram, _membership(gram, way))


def nearest_centroid(gram: Tensor, way: int) -> tuple[Tensor, Tensor]:
    """Prototypical networks' rule: logits are minus the squared distance to the class means (Snell et al. 2017).

    The query's own square is left out: it is the same for every class.
    """
    return 2 * _means(gram, way), -_squares(gram, way)


def cosine_centroid(gram: Tensor, way: int) -> tuple[Tensor, Tensor]:
    """Logits are cosines between queries of unit length and class means."""
    squares = _squares(gram, way)
    return _means(gram, way) / squares.sqrt().clamp(min=1e-12), torch.zeros_like(squares)


def _means(gram: Tensor, way: int) -> Tensor:
    """[B, way, n]: the coefficients of the class means."""
    problems, n = gram.shape[:2]
    return (_membership(gram, way) * way / n).expand(problems, way, n)


def _membership(gram: Tensor, way: int) -> Tensor:
    """[way, n]: ones where a support is of a class."""
    return torch.eye(way, dtype=gram.dtype, device=gram.device).repeat_interleave(gram.shape[1] // way, 1)


def _squares(gram: Tensor, way: int) -> Tensor:
    """[B, way, 1]: the squared lengths of the class means."""
    problems, n = gram.shape[:2]
    blocks = gram.view(problems, way, n // way, way, n // way).diagonal(dim1=1, dim2=3)
    return blocks.mean((1, 2))[..., None]


CLASSIFIERS = {
    "logistic_regression": logistic_regression,
    "nearest_centroid": nearest_centroid,
    "cosine_centroid": cosine_centroid,
}
