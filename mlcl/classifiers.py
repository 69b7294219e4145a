"""Few-shot classifiers, each fitted to many episodes at once, from inner products alone.

Every classifier here is linear in an image x, and its weights are a combination of the supports x_i. From the
supports' inner products `gram` [B, n, n] of B problems, supports class after class, n = way * shot, a classifier gives

    coefficients [B, way, n] and biases [B, way, 1]:   logit_k(x) = sum over i of coefficients_ki <x_i, x> + bias_k

so that an episode costs products with a few vectors, however many images or dimensions it has.
"""

from __future__ import annotations

from torch import Tensor

from mlcl import logistic
from mlcl.centroids import cosine_centroid, membership, nearest_centroid


def logistic_regression(gram: Tensor, way: int) -> tuple[Tensor, Tensor]:
    """L2-regularised with C = 1, as in RFS (Tian et al. 2020)."""
    return logistic.fit(gram, membership(gram, way))


CLASSIFIERS = {
    "logistic_regression": logistic_regression,
    "nearest_centroid": nearest_centroid,
    "cosine_centroid": cosine_centroid,
}
