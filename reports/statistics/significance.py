"""Tests of a paired difference, and the correction for several of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
from scipy.stats import binomtest

from reports.statistics.resampling import Floats

# (features of the first variant's clusters, of the second's, resampled differences) to (p, name).
PairedTest = Callable[[Floats, Floats, Floats], tuple[float, str]]
Name = TypeVar("Name")


def bootstrap_test(first: Floats, second: Floats, draws: Floats) -> tuple[float, str]:
    """Test a difference by its bootstrap, two-sided.

    Args:
        first: unused here, (clusters, f).
        second: unused here, (clusters, f).
        draws: resampled differences, (RESAMPLES,).

    Returns:
        Twice the share of resamples on the less likely side of zero, and the test's name.
    """
    below, above = int((draws <= 0).sum()), int((draws >= 0).sum())
    return min(1.0, 2 * (min(below, above) + 1) / (len(draws) + 1)), "bootstrap"


def exact_test(first: Floats, second: Floats, draws: Floats) -> tuple[float, str]:
    """Test a difference by McNemar's exact test where every cluster is right or wrong.

    Of the clusters that only one variant has right, each variant should have half. Where clusters
    are partly right, the bootstrap tests instead.

    Args:
        first: (right answers, answers) of each cluster, (clusters, 2).
        second: the same of the other variant.
        draws: resampled differences, (RESAMPLES,).

    Returns:
        The two-sided p, and the test's name.
    """
    if not (_one_verdict_each(first) and _one_verdict_each(second)):
        return bootstrap_test(first, second, draws)
    better = int((first[:, 0] > second[:, 0]).sum())
    worse = int((first[:, 0] < second[:, 0]).sum())
    discordant = better + worse
    p = float(binomtest(better, discordant, 0.5).pvalue) if discordant else 1.0
    return p, "exact McNemar"


def _one_verdict_each(features: Floats) -> bool:
    return bool(np.isin(features[:, 0], (0.0, 1.0)).all() and (features[:, 1] == 1).all())


def holm(p_values: Mapping[Name, float]) -> dict[Name, float]:
    """Correct p for several comparisons (Holm 1979).

    Returns:
        For each comparison, the probability that any of them is called a difference by chance.
    """
    adjusted: dict[Name, float] = {}
    largest = 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}
