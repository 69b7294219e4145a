"""Intervals against scipy's, paired differences and training seeds against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from mlcl import statistics
from mlcl.errors import UserError

fractions = st.floats(0, 1, allow_subnormal=False)
vectors = st.integers(2, 40).flatmap(lambda n: arrays(float, n, elements=fractions))
pairs = st.integers(2, 40).flatmap(lambda n: st.tuples(*[arrays(float, n, elements=fractions)] * 2))
by_seed = st.tuples(st.integers(2, 4), st.integers(2, 40)).flatmap(
    lambda shape: arrays(float, shape, elements=fractions)
)


@given(vectors)
def test_interval_is_scipys(accuracies):
    mean, half_width = statistics.interval(accuracies)
    assert mean == pytest.approx(accuracies.mean())
    scale = stats.sem(accuracies)
    if scale > 1e-9:  # scipy gives NaN for a scale of zero
        low, high = stats.t.interval(0.95, len(accuracies) - 1, accuracies.mean(), scale)
        assert (mean - half_width, mean + half_width) == pytest.approx((low, high))


def test_interval_by_hand():
    mean, half_width = statistics.interval([0.2, 0.4, 0.6])
    assert mean == pytest.approx(0.4)
    assert half_width == pytest.approx(4.302653 * 0.2 / np.sqrt(3))  # t(0.975, 2) of any printed table


def test_interval_of_equal_accuracies_has_no_width():
    assert statistics.interval(np.full(10, 0.5)) == (0.5, 0.0)


def test_interval_covers_the_mean_95_times_in_100():
    draws = np.random.default_rng(0).normal(0.5, 0.1, (2000, 12))
    covered = [abs(mean - 0.5) < half_width for mean, half_width in map(statistics.interval, draws)]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize("few", [[], [0.5]])
def test_interval_needs_two_episodes(few):
    with pytest.raises(UserError, match=f"at least 2 episodes, given {len(few)}"):
        statistics.interval(few)


def test_interval_refuses_nan():
    with pytest.raises(UserError, match="not a number"):
        statistics.interval([0.5, np.nan])


@given(pairs)
def test_difference_is_the_interval_of_the_differences(pair):
    first, second = pair
    mean, half_width = statistics.difference(first, second)
    assert (mean, half_width) == statistics.interval(first - second)
    assert mean == pytest.approx(first.mean() - second.mean(), abs=1e-12)
    assert statistics.difference(second, first) == pytest.approx((-mean, half_width), abs=1e-12)
    assert statistics.difference(first, first) == (0, 0)


def test_difference_leaves_out_what_the_sides_share():
    rng = np.random.default_rng(0)
    task, own = rng.normal(0.5, 0.1, 600), rng.normal(0, 0.01, (2, 600))
    _, paired = statistics.difference(task + own[0], task + own[1])
    _, alone = statistics.interval(task + own[0])
    assert paired < alone / 4


def test_difference_needs_the_same_episodes():
    with pytest.raises(UserError, match="same episodes on both sides, given 3 and 2"):
        statistics.difference([0.1, 0.2, 0.3], [0.1, 0.2])


@given(by_seed)
def test_summary_averages_the_seeds_first(accuracies):
    summary = statistics.summarize(accuracies)
    assert (summary.mean, summary.half_width) == statistics.interval(accuracies.mean(axis=0))
    assert summary.mean == pytest.approx(accuracies.mean())
    assert summary.std_over_seeds == pytest.approx(np.std([seed.mean() for seed in accuracies], ddof=1), abs=1e-12)


def test_summary_of_one_seed_has_no_spread():
    summary = statistics.summarize([[0.2, 0.4, 0.6]])
    assert summary[:2] == statistics.interval([0.2, 0.4, 0.6])
    assert np.isnan(summary.std_over_seeds)
