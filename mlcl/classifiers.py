"""Few-shot classifiers, each solving many episodes at once, from inner products alone.

An episode with n supports and m queries in D dimensions is reduced to two Gram matrices, supports x supports [n, n]
and queries x supports [m, n], with n far smaller than D. Every classifier here is a function of them:

    classify(ss, qs, way) -> log-probabilities [E, m, way]

ss: [E, n, n], qs: [E, m, n] float64; supports lie class after class, n = way * shot. Vectors are L2-normalised.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mlcl.episodes import Episodes


def gram(features: np.ndarray, episodes: Episodes, device: torch.device) -> tuple[Tensor, Tensor]:
    """The inner products of features [N, D], L2-normalised: supports x supports, queries x supports."""
    support, query = (
        F.normalize(torch.from_numpy(features[rows.reshape(len(rows), -1)]).to(device, torch.float32), dim=-1)
        for rows in (episodes.support, episodes.query)
    )
    return (support @ support.mT).double(), (query @ support.mT).double()


def accuracy(scores: Tensor, way: int) -> Tensor:
    """[E]: the share of an episode's queries whose own class has the highest score in scores [E, m, way]."""
    answers = torch.arange(way, device=scores.device).repeat_interleave(scores.shape[1] // way)
    return (scores.argmax(-1) == answers).double().mean(-1)


def nearest_centroid(ss: Tensor, qs: Tensor, way: int) -> Tensor:
    """Prototypical networks' rule: logits are minus the squared distance to the class means (Snell et al. 2017)."""
    to_mean, mean_norm = _to_means(ss, qs, way)
    return F.log_softmax(2 * to_mean - mean_norm[:, None], -1)


def cosine_centroid(ss: Tensor, qs: Tensor, way: int) -> Tensor:
    """Logits are cosines between queries and class means."""
    to_mean, mean_norm = _to_means(ss, qs, way)
    return F.log_softmax(to_mean / mean_norm.sqrt().clamp(min=1e-12)[:, None], -1)


def _to_means(ss: Tensor, qs: Tensor, way: int) -> tuple[Tensor, Tensor]:
    """Inner products of queries with class means [E, m, way], and the means' squared norms [E, way]."""
    e, m, shot = *qs.shape[:2], ss.shape[-1] // way
    blocks = ss.view(e, way, shot, way, shot).mean((2, 4))
    return qs.view(e, m, way, shot).mean(3), blocks.diagonal(dim1=1, dim2=2)


def logistic_regression(ss: Tensor, qs: Tensor, way: int) -> Tensor:
    """L2-regularised multinomial logistic regression with C = 1 and a free intercept, as the field uses it:

        minimise 1/2 |W|^2 + sum over supports i of CE(W x_i + b, y_i)

    At the optimum W = (Y - P)' X, so that W lies in the span of the supports and an episode is a problem in n x way
    numbers: logits f = K A + 1 b' with A = Y - P(f) and columns of A that sum to 0.
    """
    f, intercept_row = _support_logits(ss, way)
    labels = _one_hot(ss, way)
    residual = labels - f.softmax(-1)
    intercept = intercept_row @ (f + 2 * residual)
    return F.log_softmax(qs @ residual + intercept, -1)


def _support_logits(K: Tensor, way: int, tolerance: float = 1e-8, limit: int = 5000) -> tuple[Tensor, Tensor]:
    """The supports' logits f [E, n, way] at the optimum, and the row [E, 1, n] that gives b from f + 2 (Y - P).

    Majorise-minimise: since the Hessian of the softmax cross-entropy is at most 1/2 (Boehning 1992), a step is a
    ridge regression on the working response f + 2 (Y - P). Its hat matrix never changes and is made once, from a
    Cholesky factor. Nesterov's momentum speeds the steps up, restarted in the episodes where it overshoots
    (O'Donoghue and Candes 2015). Stops when no logit moves by more than `tolerance`; raises RuntimeError where the
    limit of steps does not suffice.
    """
    n = K.shape[-1]
    eye, ones = torch.eye(n, dtype=K.dtype, device=K.device), K.new_ones(n, 1)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(K + 2 * eye))
    u = inverse @ ones
    intercept_row = (u / u.sum(1, keepdim=True)).mT
    hat = K @ (inverse - u @ intercept_row) + ones * intercept_row
    labels = _one_hot(K, way)
    f = K.new_zeros(len(K), n, way)
    ahead, momentum = f, K.new_ones(len(K), 1, 1)
    for _ in range(limit):
        new = hat @ (ahead + 2 * (labels - ahead.softmax(-1)))
        if (new - ahead).abs().max() <= tolerance:
            return new, intercept_row
        overshoot = ((ahead - new) * (new - f)).sum((1, 2), keepdim=True) > 0
        momentum = torch.where(overshoot, 1.0, momentum)
        next_momentum = (1 + (1 + 4 * momentum**2).sqrt()) / 2
        ahead = new + (momentum - 1) / next_momentum * (new - f)
        f, momentum = new, next_momentum
    raise RuntimeError(f"logistic regression did not converge in {limit} steps")


def _one_hot(K: Tensor, way: int) -> Tensor:
    """[n, way]: supports lie class after class."""
    return torch.eye(way, dtype=K.dtype, device=K.device).repeat_interleave(K.shape[-1] // way, 0)


CLASSIFIERS = {
    "logistic_regression": logistic_regression,
    "nearest_centroid": nearest_centroid,
    "cosine_centroid": cosine_centroid,
}
