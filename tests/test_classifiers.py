"""The batched classifiers against scikit-learn and naive loops, on features shaped like an encoder's."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from mlcl import classifiers, logistic, solve
from mlcl.classifiers import CLASSIFIERS


def supports(problems, way, shot, dim=64, spread=0.6, seed=0, dtype=torch.float64):
    """Unit vectors [B, way * shot, D], class after class: non-negative around class means, as pooled ReLU maps are."""
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(problems, way, 1, dim))
    x = np.maximum(spread * means + rng.normal(size=(problems, way, shot, dim)), 0).reshape(problems, way * shot, dim)
    x /= np.linalg.norm(x, axis=2, keepdims=True).clip(1e-12)
    return torch.from_numpy(x).to(dtype)


def logits(classify, x, z, way):
    """The logits [B, way, m] of queries z [B, m, D] by the coefficients and biases of a classifier."""
    coefficients, biases = classify(x @ x.mT, way)
    return coefficients @ x @ z.mT + biases


@pytest.mark.parametrize(("way", "shot"), [(5, 1), (5, 5), (5, 25), (20, 1), (20, 5), (3, 2), (2, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logistic_regression_is_scikit_learns(way, shot, dtype):
    x, z = supports(4, way, shot, dtype=dtype), supports(4, way, 15, seed=1, dtype=dtype)
    ours = logits(classifiers.logistic_regression, x, z, way).log_softmax(1).mT
    for mine, support, query in zip(ours.numpy(), x.double().numpy(), z.double().numpy(), strict=True):
        c = 2 if way == 2 else 1  # of two classes scikit-learn has one weight vector, half the difference of ours
        model = LogisticRegression(C=c, tol=1e-10, max_iter=10_000).fit(support, np.repeat(range(way), shot))
        np.testing.assert_allclose(mine, model.predict_log_proba(query), atol=2e-4)


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6])
def test_logistic_regression_stops_within_its_tolerance_of_the_optimal_weights(tolerance, monkeypatch):
    x = supports(6, 5, 5)
    monkeypatch.setattr(logistic, "TOLERANCE", 1e-11)
    best = classifiers.logistic_regression(x @ x.mT, 5)[0] @ x
    monkeypatch.setattr(logistic, "TOLERANCE", tolerance)
    found = classifiers.logistic_regression(x @ x.mT, 5)[0] @ x
    # The mean of the coefficients is the intercept's affair: both sum to zero over the supports.
    assert (found - best).norm(dim=(1, 2)).max() <= tolerance


@settings(max_examples=60)
@example(way=8, shot=5, dim=2, spread=34, copies=4, seed=1, dtype=torch.float32)  # of 160 supports in two dimensions
@example(way=4, shot=7, dim=2, spread=100, copies=4, seed=659, dtype=torch.float32)
@given(
    way=st.integers(2, 20), shot=st.integers(1, 8), dim=st.integers(1, 40), spread=st.floats(0, 100),
    copies=st.integers(1, 5), seed=st.integers(0, 1000), dtype=st.sampled_from([torch.float32, torch.float64]),
)  # fmt: skip
def test_logistic_regression_reaches_a_zero_gradient_on_anything(way, shot, dim, spread, copies, seed, dtype):
    """Also where supports are equal, collinear, zero, or the same in all classes."""
    x = supports(3, way, shot, dim, spread, seed, dtype).repeat_interleave(copies, 1)
    targets = torch.eye(way, dtype=dtype).repeat_interleave(shot * copies, 1)
    coefficients, intercepts = logistic.fit(x @ x.mT, targets)
    weights, x = (coefficients @ x).double(), x.double()
    residual = targets - (weights @ x.mT + intercepts).softmax(1)
    # The gradient itself is rounded: it is the sum over n supports of what n coefficients make of each.
    tolerance = 1e-3 + 4 * torch.finfo(dtype).eps * x.shape[1] ** 2
    assert (residual @ x - weights).norm(dim=(1, 2)).max() < tolerance
    assert residual.sum(-1).abs().max() < tolerance


@pytest.mark.parametrize("counts", [(2, 1000), (1, 3, 700), (50, 800)])
@pytest.mark.parametrize("seed", range(4))
def test_logistic_regression_of_a_small_class_beside_a_large_one(counts, seed):
    """Each class weighs the same, as in `mlcl.classify`: a support of the smallest by up to hundreds."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(range(len(counts)), counts)
    means = rng.uniform(size=64) + 0.6 * rng.normal(size=(len(counts), 64))
    x = np.maximum(means[labels] + 0.2 * rng.normal(size=(len(labels), 64)), 0)
    x = torch.from_numpy(x / np.linalg.norm(x, axis=1, keepdims=True)).float()
    weights = torch.tensor([len(labels) / len(counts) / count for count in counts])[labels]
    targets = torch.eye(len(counts))[labels].T * weights
    coefficients, intercepts = (found[0] for found in logistic.fit((x @ x.mT)[None], targets))
    found, x = (coefficients @ x).double(), x.double()
    residual = targets - (found @ x.mT + intercepts).softmax(0) * weights
    assert (residual @ x - found).norm() < 1e-5 * len(labels)
    assert residual.sum(1).abs().max() < 1e-5 * len(labels)


def test_problems_do_not_depend_on_each_other():
    x, harder = (supports(5, 5, 5, spread=spread, dtype=torch.float32) for spread in (0.6, 5))
    harder[3] = x[3]
    fitted = [classifiers.logistic_regression(some @ some.mT, 5) for some in (x, harder)]
    for one, other in zip(*fitted, strict=True):
        assert torch.equal(one[3], other[3])


@pytest.mark.parametrize("shot", [1, 5])
def test_centroids_equal_the_naive_loop(shot):
    x, z = supports(4, 5, shot), supports(4, 5, 15, seed=1)
    euclidean, cosine = (logits(CLASSIFIERS[name], x, z, 5).numpy() for name in ("nearest_centroid", "cosine_centroid"))
    for e in range(len(x)):
        support, query = x[e].numpy(), z[e].numpy()
        means = support.reshape(5, shot, -1).mean(1)
        distances = ((query[:, None] - means) ** 2).sum(-1).T
        cosines = (query @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T).T
        np.testing.assert_allclose(euclidean[e] - (query**2).sum(1), -distances, atol=1e-12)
        np.testing.assert_allclose(cosine[e], cosines, atol=1e-12)


@settings(max_examples=20)
@given(st.permutations(range(5)), st.sampled_from(sorted(CLASSIFIERS)), st.sampled_from([1, 5]))
def test_the_order_of_classes_does_not_change_accuracy(order, name, shot):
    x, z = supports(4, 5, shot, seed=3), supports(4, 5, 15, seed=3)
    first = solve.accuracy(logits(CLASSIFIERS[name], x, z, 5))
    x, z = (v.unflatten(1, (5, -1))[:, list(order)].flatten(1, 2) for v in (x, z))
    assert torch.equal(first, solve.accuracy(logits(CLASSIFIERS[name], x, z, 5)))


def test_accuracy_counts_the_best_score_and_of_equal_ones_the_first():
    scores = torch.zeros(1, 2, 4)
    scores[0, [0, 1], [0, 1]] = 1.0  # right, wrong; then two ties, of which the third query's is wrong
    assert solve.accuracy(scores).tolist() == [0.25]


@pytest.mark.parametrize("name", sorted(CLASSIFIERS))
def test_a_zero_vector_is_no_error(name):
    assert torch.isfinite(logits(CLASSIFIERS[name], torch.zeros(2, 25, 8), torch.zeros(2, 75, 8), 5)).all()
