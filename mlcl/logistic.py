"""L2-regularised multinomial logistic regression for thousands of small problems at once, from inner products."""

from __future__ import annotations

import torch
from torch import Tensor

TOLERANCE = 1e-4  # of the gradient's norm, and so of the distance to the optimal weights: the curvature is at least 1
LIMIT = 500
FAR = 10.0  # the most by which a class' logit may gain on another's in a full Newton step


def fit(gram: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Coefficients [B, way, n] and intercepts [B, way, 1] that minimise, for each of B problems,

        1/2 |W|^2 + sum over supports i of w_i CE(W x_i + b, y_i),   W_k = sum over i of A_ki x_i,

    scikit-learn's LogisticRegression(C=1), or for two classes, to which it gives one weight vector between them, C=2.
    `gram` [B, n, n] holds the inner products of the supports, or something of that shape gives products with them;
    `targets` [way, n] the weight w_i of a support at its class y_i, else zeros. Raises RuntimeError where 500 steps do
    not suffice.

    Polak-Ribiere conjugate gradients on W and b with a Newton step along each direction. The gradient of W is
    sum (A - w (Y - P))_ki x_i: as long as its coefficients are kept and not itself, a step costs one product with the
    Gram matrix, and the metric is that of W. Two things make the problem easy, so that no matrix is ever factorised:
    taking the mean over the supports out of the coefficients (the free intercept makes up for it) removes the
    features' common part, by far the largest eigenvalue; and the gradient of b is scaled by the curvature at P = 1/way.
    A problem that has converged stays as it is, so that its answer does not depend on the others.

    A Newton step s that goes far would overshoot where curvatures differ much, as with two supports of one class and a
    thousand of another. There log(1 + R s) / R takes its place, with R the reach of the direction: it minimises the
    bound from above that the logistic loss' self-concordance gives (Bach 2010, Electronic Journal of Statistics 4).

    Coefficients on which no weight depends, as there are where supports are equal or more than dimensions, would grow
    unseen until the metric of them is only rounding. There a plain step of length one takes them away.
    """
    problems, (way, n), weights = gram.shape[0], targets.shape, targets.sum(0)
    scale = n / way  # of the intercepts in the metric
    a = f = targets.new_zeros(problems, way, n)  # coefficients, logits
    b = targets.new_zeros(problems, way, 1)
    p = (weights / way).expand(problems, way, n)  # times the weights, here and below
    direction = along = last = a
    direction_b = along_b = last_b = b
    last_square = targets.new_full((problems, 1, 1), torch.inf)  # so that the first direction is the gradient
    for _ in range(LIMIT):
        residual = targets - p
        down_b = residual.mean(-1, keepdim=True) * way
        down = residual.sub_(a)
        down -= down.mean(-1, keepdim=True)  # last, so that rounding leaves nothing of the common part
        effect = down @ gram  # of `down` on the logits, but for what is the same for all supports:
        effect_b = down_b - effect.mean(-1, keepdim=True)
        square = _dot(down, effect) + scale * _dot(down_b, down_b)
        noise = 4 * torch.finfo(targets.dtype).eps * _dot(down, down)
        active, lost = torch.maximum(square, noise) > TOLERANCE**2, square < noise
        if not active.any():
            return a, b
        beta = (square - _dot(last, effect) - scale * _dot(last_b, down_b)) / last_square
        beta = torch.where(active & ~lost, beta, 0).clamp_(min=0)
        direction, along = torch.addcmul(down, beta, direction), torch.addcmul(effect, beta, along)
        direction_b, along_b = down_b + beta * direction_b, effect_b + beta * along_b
        last, last_b, last_square = down, down_b, torch.where(lost, torch.inf, square)
        move = along + along_b
        weighted = p * move
        total = weighted.sum(1, keepdim=True)
        curvature = _dot(weighted, move) - _dot(total, total / weights) + _dot(direction, along)
        slope = _dot(down, along) + scale * _dot(down_b, direction_b)
        step, reach = slope / curvature, 2 * _largest(move)
        step = torch.where(step * reach > FAR, torch.log1p(step * reach) / reach, step)
        step = torch.where(active, torch.where(lost, 1, step), 0)
        a, b, f = torch.addcmul(a, step, direction), torch.addcmul(b, step, along_b), torch.addcmul(f, step, move)
        p = f.softmax(1).mul_(weights)
    raise RuntimeError(f"logistic regression did not converge in {LIMIT} steps")


def _largest(x: Tensor) -> Tensor:
    """[B, 1, 1]: the largest size of an entry of each problem's matrix."""
    return torch.linalg.vector_norm(x.flatten(1), torch.inf, 1)[:, None, None]


def _dot(x: Tensor, y: Tensor) -> Tensor:
    """[B, 1, 1]: the inner product of each problem's matrices."""
    return torch.linalg.vecdot(x.flatten(1), y.flatten(1))[:, None, None]
