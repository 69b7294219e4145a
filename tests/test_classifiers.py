"""The batched classifiers against scikit-learn and naive loops, on features shaped like an encoder's."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from mlcl import classifiers
from mlcl.episodes import Episodes, sample

WAY, QUERIES, CPU = 5, 15, torch.device("cpu")


def clustered(classes=8, images=30, dim=64, seed=0):
    """Non-negative features around class means, as pooled ReLU maps are; float16 as they are stored."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), images)
    means = rng.normal(size=(classes, dim))
    return np.maximum(0.6 * means[labels] + rng.normal(size=(len(labels), dim)), 0).astype(np.float16), labels


def episode_vectors(features, episodes, e):
    unit = features.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    return unit[episodes.support[e].ravel()], unit[episodes.query[e].ravel()]


def draw(labels, shot, episodes=20):
    return sample(labels, split="test", episodes=episodes, way=WAY, shot=shot, queries=QUERIES, seed=0)


@pytest.mark.parametrize("shot", [1, 5])
def test_logistic_regression_is_scikit_learns(shot):
    features, labels = clustered()
    episodes = draw(labels, shot)
    ours = classifiers.logistic_regression(*classifiers.gram(features, episodes, CPU), WAY).numpy()
    same = []
    for e in range(len(ours)):
        support, query = episode_vectors(features, episodes, e)
        model = LogisticRegression(C=1, tol=1e-8, max_iter=10_000).fit(support, np.repeat(range(WAY), shot))
        theirs = model.predict_log_proba(query)
        assert np.abs(theirs - ours[e]).max() < 1e-3
        same.append(theirs.argmax(1) == ours[e].argmax(1))
    assert np.mean(same) >= 0.999


@pytest.mark.parametrize("shot", [1, 5])
def test_centroids_equal_the_naive_loop(shot):
    features, labels = clustered()
    episodes = draw(labels, shot)
    products = classifiers.gram(features, episodes, CPU)
    euclidean, cosine = (c(*products, WAY).numpy() for c in (classifiers.nearest_centroid, classifiers.cosine_centroid))
    for e in range(len(euclidean)):
        support, query = episode_vectors(features, episodes, e)
        means = support.reshape(WAY, shot, -1).mean(1)
        distances = ((query[:, None] - means) ** 2).sum(-1)
        cosines = query @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T
        for ours, logits in ((euclidean[e], -distances), (cosine[e], cosines)):
            theirs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
            np.testing.assert_allclose(ours, theirs, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(WAY)), st.sampled_from(sorted(classifiers.CLASSIFIERS)), st.sampled_from([1, 5]))
def test_the_order_of_classes_does_not_change_accuracy(order, name, shot):
    features, labels = clustered(seed=3)
    episodes = draw(labels, shot, episodes=5)
    order = list(order)
    permuted = Episodes(episodes.support[:, order], episodes.query[:, order])
    scores = [classifiers.CLASSIFIERS[name](*classifiers.gram(features, e, CPU), WAY) for e in (episodes, permuted)]
    first, second = (classifiers.accuracy(s, WAY) for s in scores)
    assert torch.equal(first, second)


def test_episodes_do_not_depend_on_each_other():
    features, labels = clustered()
    episodes = draw(labels, 5)
    alone = Episodes(episodes.support[3:4], episodes.query[3:4])
    together = classifiers.logistic_regression(*classifiers.gram(features, episodes, CPU), WAY)
    single = classifiers.logistic_regression(*classifiers.gram(features, alone, CPU), WAY)
    torch.testing.assert_close(together[3:4], single, atol=1e-6, rtol=0)


def test_accuracy_counts_the_best_score():
    scores = torch.zeros(1, 4, 2)
    scores[0, [0, 1, 2], [0, 1, 1]] = 1.0  # right, wrong, right
    scores[0, 3, 0] = 1.0  # wrong
    assert classifiers.accuracy(scores, 2).tolist() == [0.5]


def test_a_zero_vector_is_no_error():
    features, labels = clustered()
    features[:] = 0
    for classify in classifiers.CLASSIFIERS.values():
        assert torch.isfinite(classify(*classifiers.gram(features, draw(labels, 5), CPU), WAY)).all()
