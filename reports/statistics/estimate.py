"""Scores of a suite from judged answers, with 95 % intervals clustered by picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reports.statistics.resampling import LEVEL, interval, resampled_sums
from reports.statistics.statistic import Judged, Statistic


@dataclass(frozen=True)
class Estimate:
    """A score with its 95 % interval.

    Attributes:
        n: how many answers it is made of.
        maximum: what can be had; where there is no maximum, the score itself.
    """

    score: float
    low: float
    high: float
    n: int
    maximum: float


def estimate(statistic: Statistic, answers: Sequence[Judged], *, seed: int = 0) -> Estimate:
    """Score answers under a statistic, in its own unit.

    The interval is a percentile bootstrap over clusters (pictures, pairs or circular groups), drawn
    within the groups of a grouped statistic. Where all clusters are alike (everything right,
    everything wrong, always "yes") every resample gives the same score; then the interval is what
    remains possible if a share of clusters that may yet differ, 1 - 0.025^(1/clusters), scored
    nothing or everything: for all right and all wrong this is the exact Clopper-Pearson interval.

    Raises:
        ValueError: there are no answers.
    """
    if not answers:
        raise ValueError(f"no answers to estimate {statistic.name} from")
    features = statistic.tabulate(answers)
    groups = features.group_count
    score = float(statistic.score_of(features.values.sum(axis=0), groups))
    limit = statistic.maximum_of(groups)
    maximum = score if limit is None else limit
    sums = resampled_sums(features.values, features.groups, np.random.default_rng(seed))
    draws = statistic.score_of(sums, groups)
    if np.ptp(draws) < 1e-9 * maximum:
        other = 1 - ((1 - LEVEL) / 2) ** (1 / len(features.values))
        low, high = (1 - other) * score, score + other * (maximum - score)
    else:
        low, high = interval(draws)
    return Estimate(score, low, high, len(answers), maximum)
