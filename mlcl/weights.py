"""How much each level counts in an ensemble of all: weights by which the validation classes are recognised best.

The mean of the levels' class probabilities takes a weak level for as good as a strong one. Here the logits of every
level are summed with a weight of its own, and the weights are those that make the answers of validation tasks most
probable: stacking (Wolpert 1992), with weights that are not negative (Breiman 1996).
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

DIGITS = 4  # significant ones of a weight, whatever the scale of its logits, and none that depends on the processor


def fit(logits: Tensor) -> list[float]:
    """Weights of the levels, at least 0 and of sum 1, from the `logits` [levels, E, way, m] of tasks.

    With z_l(c) a query's logit of class c at level l and y its own class, they are in proportion to the w >= 0 that
    minimise the mean over the queries of log sum_c exp(sum_l w_l (z_l(c) - z_l(y))), which is convex. What says nothing
    weighs nothing; all are equal where no level is worth anything. The queries lie class after class, as `solve.solve`
    has them.
    """
    levels, _, way, m = logits.shape
    answers = torch.arange(way, device=logits.device).repeat_interleave(m // way)
    own = logits.gather(2, answers.expand(*logits.shape[:2], 1, m))
    margins = (logits - own).double().flatten(1).T.contiguous().cpu()  # [E * way * m, levels]

    def cost(weights: np.ndarray) -> tuple[float, np.ndarray]:
        scores = (margins @ torch.from_numpy(weights)).view(-1, way, m)
        shares = scores.softmax(1).flatten() / (len(scores) * m)
        return float(scores.logsumexp(1).mean()), (shares @ margins).numpy()

    tight = {"ftol": 1e-12, "gtol": 1e-8}
    found = minimize(cost, np.zeros(levels), jac=True, method="L-BFGS-B", bounds=[(0, None)] * levels, options=tight).x
    total = found.sum()
    weights = found / total if total else np.full(levels, 1 / levels)
    return [float(f"{weight:.{DIGITS}g}") for weight in weights]
