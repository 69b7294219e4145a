"""The weights of levels against a loop and another solver."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar

from mlcl.solve import weighted
from mlcl.weights import fit


def drawn(rng, quality, episodes=30, way=4, m=8):
    """Logits [levels, E, way, m] of levels that know the answers so well."""
    answers = np.arange(way).repeat(m // way)
    known = np.eye(way)[:, answers]
    noise = rng.normal(size=(len(quality), episodes, way, m))
    return torch.tensor(np.array(quality)[:, None, None, None] * known + noise, dtype=torch.float32)


def cost(weights, logits):
    """The mean of minus the logarithm of the own class's share, query by query."""
    logits, found = logits.double().numpy(), []
    _, episodes, way, m = logits.shape
    for e in range(episodes):
        for q in range(m):
            scores = [sum(w * z for w, z in zip(weights, logits[:, e, c, q], strict=True)) for c in range(way)]
            found.append(math.log(sum(math.exp(s - scores[q * way // m]) for s in scores)))
    return np.mean(found)


def slopes(logits):
    """[levels]: the cost's derivatives where all weights are 0: what its classes have on average, less its own."""
    *_, way, m = logits.shape
    own = [logits[:, :, q * way // m, q] for q in range(m)]
    return (logits.double().mean((1, 2, 3)) - torch.stack(own).double().mean((0, 2))).numpy()


@settings(max_examples=10)
@given(st.integers(0, 1000), st.lists(st.sampled_from([0, 0.2, 0.5, 1, 2]), min_size=2, max_size=4).filter(any))
def test_they_make_the_answers_most_probable(seed, quality):
    logits = drawn(np.random.default_rng(seed), quality, episodes=6)
    found = fit(logits)
    best = minimize(cost, np.full(len(quality), 0.3), logits, method="SLSQP", bounds=[(0, 5)] * len(quality)).x
    assert sum(found) == pytest.approx(1, abs=2e-4)
    assert min(found) >= 0
    # The scale is not kept, so that the best one is looked for, far beyond the bounds of the other solver: answers that
    # weights tell apart without a mistake are the more probable the larger these are.
    ours = minimize_scalar(lambda scale: cost(scale * np.array(found), logits), bounds=(0, 200), method="bounded").fun
    assert ours <= cost(best, logits) + 1e-4
    # By convexity none is worth anything where the cost rises with each of them from nothing on.
    if slopes(logits).min() > 1e-6:
        assert found == [round(1 / len(quality), 4)] * len(quality)


def test_a_level_that_knows_more_weighs_more_and_one_that_misleads_nothing():
    found = fit(drawn(np.random.default_rng(0), [0.5, -1, 1, 2], episodes=200))
    assert found[1] == 0 < found[0] < found[2] < found[3]
    # Of independent noise of one size, the best weights are in proportion to what is known.
    np.testing.assert_allclose(found, np.array([0.5, 0, 1, 2]) / 3.5, atol=0.02)


def test_the_scale_of_a_levels_logits_does_not_matter():
    logits = drawn(np.random.default_rng(0), [1, 1], episodes=100)
    first, second = fit(logits * torch.tensor([1.0, 20.0])[:, None, None, None])
    assert first / second == pytest.approx(20 * np.divide(*fit(logits)), rel=0.02)


@pytest.mark.parametrize("scale", [1e-2, 1e-5])
def test_a_level_of_small_logits_keeps_its_say(scale):
    logits = drawn(np.random.default_rng(0), [1, 1, 2], episodes=100)
    found = np.array(fit(logits * torch.tensor([1.0, 1.0, scale])[:, None, None, None])) * [1, 1, scale]
    np.testing.assert_allclose(found / found.sum(), fit(logits), rtol=0.01)


def test_a_level_that_says_nothing_weighs_nothing():
    logits = drawn(np.random.default_rng(0), [1, 0, 2], episodes=100)
    logits[1] = 0
    assert fit(logits)[1] == 0
    np.testing.assert_allclose(np.array(fit(logits))[[0, 2]], fit(logits[[0, 2]]), atol=1e-3)


def test_levels_worth_nothing_are_equal():
    assert fit(drawn(np.random.default_rng(0), [-1, -2, -1])) == [pytest.approx(1 / 3, abs=1e-4)] * 3


def test_weighted_is_the_weighted_sum():
    logits = drawn(np.random.default_rng(0), [1, 2], episodes=3)
    torch.testing.assert_close(weighted(logits, [0.25, 0.75]), 0.25 * logits[0] + 0.75 * logits[1])


def test_they_are_found_from_tasks_of_75_queries_too():
    found = fit(drawn(np.random.default_rng(0), [0.1, 0.3, 0.5, 0.6], episodes=200, way=5, m=75))
    np.testing.assert_allclose(found, np.array([0.1, 0.3, 0.5, 0.6]) / 1.5, atol=0.02)
