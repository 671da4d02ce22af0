"""How stable a ranking of the blocks is between seeds and between numbers of clusters.

Source: LUQ (arXiv 2509.23729), figure 9.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from kneed import KneeLocator
from scipy.stats import kendalltau

# Where the curve has no elbow: this many steps in a row with at most this Kendall distance.
SMALL_STEPS, SMALL_DISTANCE = 3, 0.02


@dataclass(frozen=True)
class StableClusters:
    """The number of clusters from which on the ranking is stable.

    Attributes:
        clusters: K, or None where the ranking never becomes stable.
        rule: the rule that chose it, in words.
    """

    clusters: int | None
    rule: str


def kendall_distance(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the share of pairs of blocks that two lists of scores rank differently.

    0 for equal orders, 1 for reversed ones. Blocks with equal scores rank by their number.
    """
    return (1 - float(kendalltau(_ranks(first), _ranks(second)).statistic)) / 2


def _ranks(scores: Sequence[float]) -> list[int]:
    order = sorted(range(len(scores)), key=lambda i: (scores[i], i))
    return [order.index(i) for i in range(len(scores))]


def seed_agreement(by_seed: Sequence[Sequence[float]]) -> float:
    """Return the mean Kendall tau between the rankings of every two seeds; 1 for a single seed.

    Args:
        by_seed: scores of the blocks for each seed.
    """
    pairs = list(itertools.combinations(by_seed, 2))
    return float(np.mean([1 - 2 * kendall_distance(a, b) for a, b in pairs])) if pairs else 1.0


def rank_changes(by_clusters: Sequence[Sequence[Sequence[float]]]) -> list[float]:
    """Return the Kendall distances between consecutive numbers of clusters, averaged over seeds.

    Args:
        by_clusters: scores of the blocks for each number of clusters and each seed.
    """
    return [
        float(np.mean([kendall_distance(a, b) for a, b in zip(before, after, strict=True)]))
        for before, after in itertools.pairwise(by_clusters)
    ]


def stable_clusters(grid: Sequence[int], changes: Sequence[float]) -> StableClusters:
    """Return the number of clusters from which on the ranking changes little.

    It is the elbow of the curve (Kneedle, Satopää et al. 2011; convex, decreasing, S = 1), else the
    first K of SMALL_STEPS consecutive steps of at most SMALL_DISTANCE.

    Args:
        grid: numbers of clusters, ascending.
        changes: changes[j] is the distance between grid[j] and grid[j + 1] and belongs to
            grid[j + 1].
    """
    places = list(grid[1:])
    if changes[0] > changes[-1]:  # Kneedle also finds elbows in a curve that does not fall
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "no knee" is an outcome here
            knee = KneeLocator(
                places, list(changes), S=1.0, curve="convex", direction="decreasing"
            ).knee
        if knee is not None and int(knee) != places[0]:  # the first point cannot be an elbow
            return StableClusters(int(knee), "elbow of the curve")
    for j in range(len(changes) - SMALL_STEPS + 1):
        if all(change <= SMALL_DISTANCE for change in changes[j : j + SMALL_STEPS]):
            return StableClusters(
                places[j],
                f"no elbow; first of {SMALL_STEPS} steps in a row with a distance of"
                f" {SMALL_DISTANCE} or less",
            )
    return StableClusters(
        None,
        f"no elbow, and no {SMALL_STEPS} steps in a row with a distance of {SMALL_DISTANCE} or"
        " less",
    )
