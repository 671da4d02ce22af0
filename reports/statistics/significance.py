"""Tests of a paired difference, and the correction for several of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
from scipy.stats import binomtest

from reports.statistics.resampling import RESAMPLES, Floats

# Differences of the scores from summed features of both variants, (..., f) and (..., f) to (...).
Difference = Callable[[Floats, Floats], Floats]
# (features of the first variant's clusters, of the second's, difference, source of randomness) to
# (p, name).
PairedTest = Callable[[Floats, Floats, Difference, np.random.Generator], tuple[float, str]]
Name = TypeVar("Name")

ENUMERATED = 12  # clusters that differ, up to which all exchanges are gone through


def permutation_test(
    first: Floats, second: Floats, difference: Difference, rng: np.random.Generator
) -> tuple[float, str]:
    """Test a difference by exchanging the two variants, cluster by cluster; two-sided.

    Where the variants are alike, what one answered on a cluster the other could have answered, so
    that the difference is one draw of all those that exchanges make. With n clusters that differ no
    p is below 2^(1-n).

    Args:
        first: (clusters, f).
        second: (clusters, f).
        difference: of the scores.
        rng: draws exchanges where there are too many for all.

    Returns:
        The share of exchanges with a difference at least as large, and the test's name.

    Source: Phipson and Smyth 2010, equation 2, for drawn exchanges.
    """
    change = first - second
    kinds, counts = np.unique(change[change.any(axis=1)], axis=0, return_counts=True)
    changed = int(counts.sum())
    if not changed:
        return 1.0, "exact permutation"
    if changed <= ENUMERATED:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=changed)))
        sums, exact = signs @ np.repeat(kinds, counts, axis=0), True
    else:
        sums, exact = (
            (2 * rng.binomial(counts, 0.5, (RESAMPLES, len(kinds))) - counts) @ kinds,
            False,
        )
    middle = (first + second).sum(axis=0) / 2
    observed = np.abs(difference(middle + change.sum(axis=0) / 2, middle - change.sum(axis=0) / 2))
    drawn = np.abs(difference(middle + sums / 2, middle - sums / 2))
    as_large = int((drawn >= observed * (1 - 1e-9)).sum())
    if exact:
        return as_large / len(drawn), "exact permutation"
    return (1 + as_large) / (1 + len(drawn)), "permutation"


def exact_test(
    first: Floats, second: Floats, difference: Difference, rng: np.random.Generator
) -> tuple[float, str]:
    """Test a difference by McNemar's exact test where every cluster is right or wrong.

    Of the clusters that only one variant has right, each variant should have half. Where clusters
    are partly right, the permutation test takes its place.

    Args:
        first: (right answers, answers) of each cluster, (clusters, 2).
        second: the same of the other variant.
        difference: of the scores, for the permutation test.
        rng: the source of randomness, for the permutation test.

    Returns:
        The two-sided p, and the test's name.
    """
    if not (_one_verdict_each(first) and _one_verdict_each(second)):
        return permutation_test(first, second, difference, rng)
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
