"""How firmly a measurement ranks the blocks: between seeds, and between numbers of clusters (LUQ,
figure 9).
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from kneed import KneeLocator
from scipy.stats import kendalltau

STILL, STEPS = (
    0.02,
    3,
)  # the rule where there is no elbow: this distance or less, so many steps in a row


@dataclass(frozen=True)
class StableClusters:
    """clusters: K, or None where the ranking never settles. rule: how it was found, in words."""

    clusters: int | None
    rule: str


def kendall_distance(first: Sequence[float], second: Sequence[float]) -> float:
    """Share of pairs of blocks that two lists of scores rank differently: 0 for equal orders, 1 for
    reversed ones; blocks with equal scores rank by their number.
    """
    return (1 - float(kendalltau(_ranks(first), _ranks(second)).statistic)) / 2


def _ranks(scores: Sequence[float]) -> list[int]:
    order = sorted(range(len(scores)), key=lambda i: (scores[i], i))
    return [order.index(i) for i in range(len(scores))]


def seed_agreement(by_seed: Sequence[Sequence[float]]) -> float:
    """Mean Kendall tau between the rankings of every two seeds. by_seed: scores of the blocks, a
    list a seed. 1 for a single seed.
    """
    pairs = list(itertools.combinations(by_seed, 2))
    return float(np.mean([1 - 2 * kendall_distance(a, b) for a, b in pairs])) if pairs else 1.0


def rank_changes(by_clusters: Sequence[Sequence[Sequence[float]]]) -> list[float]:
    """Mean over seeds of the Kendall distance between consecutive numbers of clusters.
    by_clusters[j][seed]: scores of the blocks.
    """
    return [
        float(np.mean([kendall_distance(a, b) for a, b in zip(before, after, strict=True)]))
        for before, after in itertools.pairwise(by_clusters)
    ]


def stable_clusters(grid: Sequence[int], changes: Sequence[float]) -> StableClusters:
    """The number of clusters from which on the ranking changes little: the elbow of the curve
    (Kneedle, Satopää et al. 2011; convex, decreasing, S = 1), else the first K of STEPS consecutive
    steps of STILL or less.

    changes[j]: between grid[j] and grid[j + 1]; it stands at grid[j + 1].
    """
    places = list(grid[1:])
    if changes[0] > changes[-1]:  # in a curve that does not fall Kneedle finds elbows all the same
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "no knee" is an outcome here
            knee = KneeLocator(
                places, list(changes), S=1.0, curve="convex", direction="decreasing"
            ).knee
        if knee is not None and int(knee) != places[0]:  # where the curve begins it cannot bend
            return StableClusters(int(knee), "elbow of the curve")
    for j in range(len(changes) - STEPS + 1):
        if all(change <= STILL for change in changes[j : j + STEPS]):
            return StableClusters(
                places[j],
                f"no elbow; first of {STEPS} steps in a row with a distance of {STILL} or less",
            )
    return StableClusters(
        None, f"no elbow, and no {STEPS} steps in a row with a distance of {STILL} or less"
    )
