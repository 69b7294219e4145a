"""Means over episodes with their confidence intervals, and differences on the same episodes.

An interval here is the field's: Student's t at 95% over the episodes' accuracies, n episodes with mean m and sample
standard deviation s giving m +- t(0.975, n - 1) * s / sqrt(n), the same as `scipy.stats.t.interval(0.95, n - 1, m,
s / sqrt(n))`. It covers the sampling of the episodes from the split's classes and images. It does not cover the
training: other seeds train other encoders, and the intervals over seeds, in which a run's mean is one observation, do.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special  # where scipy.stats has Student's distribution from: importing that takes most of a second

from mlcl.errors import UserError

CONFIDENCE = 0.95
RESAMPLES = 10_000
BLOCK = 8_000_000  # numbers


class Summary(NamedTuple):
    """Of one set of episodes met by one encoder a training seed; in the unit of the accuracies."""

    mean: float
    half_width: float
    """Of the 95% interval over the episodes."""
    std_over_seeds: float
    """Sample standard deviation of the seeds' means; NaN for one seed."""
    half_width_over_seeds: float
    """Of the 95% interval over the training seeds; NaN for one seed."""
    by_seed: tuple[float, ...]
    """Each seed's mean."""


def interval(accuracies: ArrayLike) -> tuple[float, float]:
    """Mean and half-width of the 95% interval of `accuracies` [episodes], in their unit.

    Raises `UserError` for fewer than 2 episodes, or where an accuracy is not finite.
    """
    values = np.asarray(accuracies, dtype=float)
    if values.ndim != 1:
        raise ValueError(f"expected one accuracy an episode, [episodes]; got the shape {values.shape}")
    if len(values) < 2:
        raise UserError(f"a confidence interval needs at least 2 episodes, given {len(values)}; evaluate more")
    if not np.isfinite(values).all():
        raise UserError("an episode's accuracy is not a number; run mlcl evaluate again")
    return float(values.mean()), float(_quantile(len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))


def _quantile(freedom: int) -> float:
    return special.stdtrit(freedom, (1 + CONFIDENCE) / 2)


def summarize(accuracies: ArrayLike) -> Summary:
    """Mean, interval and spread of `accuracies` [seeds, episodes], column i being the same task for every seed.

    An episode's accuracy is averaged over the seeds first, so that the interval, over those averages, covers the
    sampling of the episodes only; the interval over seeds has a run's mean as one observation. Raises `UserError` as
    `interval` does.
    """
    values = np.asarray(accuracies, dtype=float)
    by_run = values.mean(axis=1)
    spread = (float(by_run.std(ddof=1)), interval(by_run)[1]) if len(values) > 1 else (np.nan, np.nan)
    return Summary(*interval(values.mean(axis=0)), *spread, tuple(by_run))


class Effect(NamedTuple):
    """What a difference between methods comes to, in the unit of the accuracies."""

    mean: float
    half_width: float
    """Of Student's 95% interval over the episodes."""
    p: float
    """Two-sided, of the paired t test that the mean is zero, over the same episodes."""
    bootstrap_low: float
    bootstrap_high: float
    """The 95% percentile interval over resampled episodes: a check that assumes no distribution."""
    half_width_over_seeds: float
    """Of Student's 95% interval over the training seeds; NaN for one seed."""


def effect(differences: ArrayLike) -> Effect:
    """The effect behind `differences` [seeds, episodes], each of what two sides reached with a seed on an episode.

    Episodes are averaged over the seeds, as in `summarize`. Raises `UserError` as `interval` does.
    """
    values = np.asarray(differences, dtype=float)
    mean, half_width, _, over_seeds, _ = summarize(values)
    by_episode = values.mean(axis=0)
    p = _two_sided(by_episode) if half_width > 0 else float(mean == 0)  # all equal: 1 of no difference at all, else 0
    return Effect(mean, half_width, p, *_bootstrap(by_episode), over_seeds)


def _two_sided(values: np.ndarray) -> float:
    """p of the t test that the mean of `values` [n] is zero."""
    t = values.mean() / np.sqrt(values.var(ddof=1) / len(values))
    return float(2 * special.stdtr(len(values) - 1, -abs(t)))


def _bootstrap(values: np.ndarray) -> tuple[float, float]:
    """The 95% percentile interval of the mean of resampled `values` [episodes] (Efron and Tibshirani 1993, ch. 13)."""
    blocks = _blocks(_resamples(len(values)))
    means = np.concatenate([block.astype(float) @ values for block in blocks]) / len(values)
    low, high = np.percentile(means, [100 * (1 - CONFIDENCE) / 2, 100 * (1 + CONFIDENCE) / 2])
    return float(low), float(high)


@lru_cache(maxsize=1)
def _resamples(n: int) -> np.ndarray:
    """uint8 [RESAMPLES, n]: how often each episode is in each resample. The same for every difference of a table, which
    costs less than drawing for each."""
    rng, counts = np.random.default_rng(0), np.empty((RESAMPLES, n), np.uint8)
    for block in _blocks(counts):
        places = rng.integers(n, size=block.shape) + n * np.arange(len(block))[:, None]
        block[:] = np.bincount(places.ravel(), minlength=block.size).reshape(block.shape)
    return counts


def _blocks(counts: np.ndarray) -> list[np.ndarray]:
    """Views of some rows each: all at once, in eight bytes a number, may be more than memory holds."""
    return np.array_split(counts, max(1, counts.size // BLOCK))


def holm(p: ArrayLike) -> np.ndarray:
    """The p-values [n] corrected for their number so that below 0.05 lies, in 95 of 100 tables, no false one.

    Step-down (Holm 1979): the i-th smallest, counted from 0, is multiplied by n - i, and none may lie below a smaller.
    """
    values = np.asarray(p, dtype=float)
    order = np.argsort(values, kind="stable")
    factors = len(values) - np.arange(len(values))
    corrected = np.empty_like(values)
    corrected[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1)
    return corrected
