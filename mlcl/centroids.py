"""Few-shot classifiers by the classes' means: as in `classifiers`, fitted to many episodes at once from inner products.

A file of its own, since training watches itself by nearest centroids: what the other classifiers do is no part of it.
"""

from __future__ import annotations

import torch
from torch import Tensor


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
    return (membership(gram, way) * way / n).expand(problems, way, n)


def membership(gram: Tensor, way: int) -> Tensor:
    """[way, n]: ones where a support is of a class."""
    return torch.eye(way, dtype=gram.dtype, device=gram.device).repeat_interleave(gram.shape[1] // way, 1)


def _squares(gram: Tensor, way: int) -> Tensor:
    """[B, way, 1]: the squared lengths of the class means."""
    problems, n = gram.shape[:2]
    blocks = gram.view(problems, way, n // way, way, n // way).diagonal(dim1=1, dim2=3)
    return blocks.mean((1, 2))[..., None]
