"""Intervals against scipy's, effects and training seeds against their definitions."""

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


@given(by_seed)
def test_effect_is_scipys(values):
    values = values - 0.5
    found = statistics.effect(values)
    by_episode = values.mean(axis=0)
    assert found.mean == pytest.approx(by_episode.mean())
    if by_episode.std() > 1e-6:
        assert found.p == pytest.approx(stats.ttest_1samp(by_episode, 0).pvalue)
        assert (found.p < 0.05) == (abs(found.mean) > found.half_width)  # the test and the interval agree
    scale = stats.sem(values.mean(axis=1))
    if scale > 1e-9:
        assert found.half_width_over_seeds == pytest.approx(stats.t.ppf(0.975, len(values) - 1) * scale)


def test_bootstrap_is_scipys():
    values = np.random.default_rng(0).integers(-5, 8, (1, 600)) / 75
    found = statistics.effect(values)
    check = stats.bootstrap(values, np.mean, method="percentile", n_resamples=10_000, rng=1).confidence_interval
    assert (found.bootstrap_low, found.bootstrap_high) == pytest.approx((check.low, check.high), abs=2e-4)
    assert found.bootstrap_high - found.bootstrap_low == pytest.approx(2 * found.half_width, rel=0.05)


@pytest.mark.parametrize(("value", "p"), [(0.0, 1.0), (0.25, 0.0)])
def test_effect_of_equal_differences(value, p):
    found = statistics.effect(np.full((1, 10), value))
    assert (found.mean, found.half_width, found.p) == (value, 0, p)
    assert np.isnan(found.half_width_over_seeds)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_rejects_step_by_step(p):
    """Holm (1979): from the smallest on, reject while p is below alpha over the number of those left."""
    corrected = statistics.holm(p)
    for alpha in (0.01, 0.05, 0.2):
        rejected = set()
        for i, place in enumerate(sorted(range(len(p)), key=p.__getitem__)):
            if p[place] * (len(p) - i) >= alpha:
                break
            rejected.add(place)
        assert {place for place in range(len(p)) if corrected[place] < alpha} == rejected


def paired(rng, count, difference):
    """Two methods' accuracies (%) on the same `count` 5-way tasks of 75 queries, as far apart as asked for."""
    hardness = rng.normal(0, 0.06, count)  # what an episode does to both
    first, second = (np.clip(0.65 + shift / 100 + hardness, 0, 1) for shift in (difference, 0))
    return rng.binomial(75, first) / 0.75, rng.binomial(75, second) / 0.75


def test_power_at_half_a_point(monkeypatch):
    """0.5 points are told apart at 10,000 episodes, nearly always; equal methods are told apart one time in 20."""
    monkeypatch.setattr(statistics, "RESAMPLES", 10)  # of the t test alone is asked here
    rng = np.random.default_rng(0)
    ours = [statistics.effect([first - second]) for first, second in (paired(rng, 10_000, 0.5) for _ in range(20))]
    assert sum(found.p < 0.05 and found.mean > 0 for found in ours) >= 19
    assert np.mean([found.mean for found in ours]) == pytest.approx(0.5, abs=0.1)
    equal = [statistics.effect([first - second]) for first, second in (paired(rng, 600, 0) for _ in range(600))]
    assert 0.03 < np.mean([found.p < 0.05 for found in equal]) < 0.07


@pytest.mark.parametrize("place", [0, 19])
def test_every_episode_may_be_resampled(place):
    """Of one that differs from 19 others, a resample has 4 or more in a fiftieth of the cases, none in a third."""
    found = statistics.effect([np.eye(20)[place]])
    assert found.bootstrap_low == 0
    assert found.bootstrap_high == pytest.approx(3 / 20)


def test_interval_is_of_one_accuracy_an_episode():
    with pytest.raises(ValueError, match=r"one accuracy an episode, \[episodes\]; got the shape \(2, 3\)"):
        statistics.interval(np.zeros((2, 3)))


def test_resamples_are_drawn_block_by_block(monkeypatch):
    values = np.random.default_rng(0).normal(size=(1, 20))
    statistics._resamples.cache_clear()
    whole = statistics.effect(values)
    statistics._resamples.cache_clear()
    monkeypatch.setattr(statistics, "BLOCK", 7 * 20)
    assert statistics.effect(values) == pytest.approx(whole, nan_ok=True)
    statistics._resamples.cache_clear()
