"""Bootstrap resampling: how many resamples, and the interval that they give."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
RESAMPLES = 2000
LEVEL = 0.95


def interval(draws: Floats) -> tuple[float, float]:
    """95 % percentile interval of resampled values."""
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(draws, [tail, 100 - tail])
    return float(low), float(high)


def resampled_means(values: Floats, rng: np.random.Generator) -> Floats:
    """Means of resampled values, (RESAMPLES,)."""
    weights = rng.multinomial(
        len(values), np.full(len(values), 1 / len(values)), size=RESAMPLES
    ) / len(values)
    means: Floats = weights @ values
    return means


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
