"""Means over episodes with their confidence intervals, and differences on the same episodes.

An interval here is the field's: Student's t at 95% over the episodes' accuracies, n episodes with mean m and sample
standard deviation s giving m +- t(0.975, n - 1) * s / sqrt(n), the same as `scipy.stats.t.interval(0.95, n - 1, m,
s / sqrt(n))`. It covers the sampling of the episodes from the split's classes and images. It does not cover the
training: other seeds train other encoders, and how far those lie apart is `Summary.std_over_seeds`.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from mlcl.errors import UserError

LEVEL = 0.95


class Summary(NamedTuple):
    """Of one set of episodes met by one encoder a training seed; in the unit of the accuracies."""

    mean: float
    half_width: float
    """Of the 95% interval over the episodes."""
    std_over_seeds: float
    """Sample standard deviation of the seeds' means; NaN for one seed."""


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


@cache
def _quantile(freedom: int) -> float:
    """Cached: a table takes the same one thousands of times, and scipy longer for it than numpy for all the rest."""
    return stats.t.ppf((1 + LEVEL) / 2, freedom)


def summarize(accuracies: ArrayLike) -> Summary:
    """Mean, interval and spread of `accuracies` [seeds, episodes], column i being the same task for every seed.

    An episode's accuracy is averaged over the seeds first, so that the interval, over those averages, covers the
    sampling of the episodes only. Raises `UserError` as `interval` does.
    """
    values = np.asarray(accuracies, dtype=float)
    std = values.mean(axis=1).std(ddof=1) if len(values) > 1 else np.nan
    return Summary(*interval(values.mean(axis=0)), float(std))


def difference(first: ArrayLike, second: ArrayLike) -> tuple[float, float]:
    """Mean and half-width of the 95% interval of `first` - `second`, both [episodes], place i being the same task.

    The interval is over the episodes' differences, so that what makes an episode easy or hard for both sides drops
    out. Raises `UserError` where the two did not meet the same number of episodes, and as `interval` does.
    """
    first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if first.shape != second.shape:
        raise UserError(
            f"a paired difference needs the same episodes on both sides, given {first.size} and {second.size}; "
            "run mlcl evaluate for both with the same config"
        )
    return interval(first - second)
