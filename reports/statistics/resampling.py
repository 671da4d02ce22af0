"""Intervals: from resampled clusters, and with room for what few clusters have not shown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

Floats = NDArray[np.float64]
RESAMPLES = 2000
LEVEL = 0.95


def interval(draws: Floats, strata: Sequence[str], level: float = LEVEL) -> tuple[float, float]:
    """Percentile interval of resampled values, expanded for few clusters.

    Resamples of n clusters vary too little by a factor of (n-1)/n and have the tails of a normal
    distribution instead of Student's; percentiles further out make up for both.

    Args:
        draws: resampled values, (RESAMPLES,).
        strata: of each cluster.
        level: confidence, two-sided.

    Source: Hesterberg 2015, "What Teachers Should Know About the Bootstrap", section 5.3.
    """
    clusters, freedom = len(strata), len(strata) - len(set(strata))
    tail = 0.0
    if freedom:
        reach = math.sqrt(clusters / freedom) * t.ppf((1 + level) / 2, freedom)
        tail = float(norm.cdf(-reach))
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


@dataclass(frozen=True)
class Unseen:
    """What kinds of clusters that were not drawn could do to a score.

    Attributes:
        down: how far the score falls where all clusters of a group lie as low as can be, (groups,).
        up: how far it rises where they lie as high as can be, (groups,).
        counts: clusters that were drawn of each group, (groups,).
    """

    down: Floats
    up: Floats
    counts: Floats

    def room(self, level: float = LEVEL) -> tuple[float, float]:
        """How much lower and higher the score may yet be, both at least 0."""
        return (
            largest_unseen(self.down, self.counts, level),
            largest_unseen(self.up, self.counts, level),
        )


def largest_unseen(weights: Floats, counts: Floats, level: float = LEVEL) -> float:
    """The largest weighted sum of shares of kinds of clusters that all draws may have missed.

    Shares p that are missed with probability prod (1-p)^counts of at least (1-level)/2; of one
    group this is the interval of Clopper and Pearson (1934) where every trial came out alike. The
    sum is largest where 1-p is proportional to counts/weights, in the groups where it is below 1.

    Args:
        weights: at least 0, (groups,).
        counts: at least 1, (groups,).
        level: confidence, two-sided.
    """
    order = np.argsort(counts / np.maximum(weights, 1e-300))
    weights, counts = weights[order], counts[order]
    for groups in range(int((weights > 0).sum()), 0, -1):
        weight, count = weights[:groups], counts[:groups]
        logs = np.log(count / weight)
        scale = (math.log((1 - level) / 2) - (count * logs).sum()) / count.sum()
        seen = np.exp(scale + logs)
        if seen[-1] <= 1:
            return float((weight * (1 - seen)).sum())
    return 0.0


def mean_interval(values: Floats, level: float = LEVEL) -> tuple[float, float]:
    """Student's interval of a mean; infinite where there is one value.

    Args:
        values: (n,).
        level: confidence, two-sided.
    """
    if len(values) == 1:
        return -math.inf, math.inf
    half = t.ppf((1 + level) / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def root_of_squares(deviations: Sequence[float]) -> float:
    """How far a sum may lie from its estimate where each term may lie so far from its own.

    One side of an interval at a time, so that sides of unequal length stay unequal.

    Source: Zou and Donner 2008, MOVER (method of variance estimates recovery), equation 8.
    """
    return math.sqrt(sum(deviation**2 for deviation in deviations))


def resampled_sums(features: Floats, strata: tuple[str, ...], rng: np.random.Generator) -> Floats:
    """Sums over resampled clusters.

    Args:
        features: (clusters, f).
        strata: of each cluster; each stratum is resampled to its own size.
        rng: the source of randomness.

    Returns:
        (RESAMPLES, f).
    """
    names = np.asarray(strata)
    total = np.zeros((RESAMPLES, features.shape[1]))
    for name in np.unique(names):
        part = features[names == name]
        weights = rng.multinomial(len(part), np.full(len(part), 1 / len(part)), size=RESAMPLES)
        total += weights @ part
    return total


def resampled_sums_of_alike(
    features: Floats, strata: tuple[str, ...], rng: np.random.Generator
) -> Floats:
    """The same as `resampled_sums`, faster where many clusters have equal features.

    Clusters with equal features are drawn together, so the random numbers differ.
    """
    names = np.asarray(strata)
    total = np.zeros((RESAMPLES, features.shape[1]))
    for name in np.unique(names):
        kinds, counts = np.unique(features[names == name], axis=0, return_counts=True)
        total += rng.multinomial(counts.sum(), counts / counts.sum(), size=RESAMPLES) @ kinds
    return total
