"""Scores of a suite from judged answers, with 95 % intervals clustered by picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reports.statistics.resampling import interval, mean_interval, resampled_sums
from reports.statistics.statistic import LARGEST_EXPONENT, Judged, Statistic


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

    The interval is a bootstrap over clusters (pictures, pairs or circular groups), drawn within the
    groups of a grouped statistic, with `Unseen` for what the clusters have not shown: for
    all right and all wrong this is the exact Clopper-Pearson interval. A statistic without a
    maximum has Student's interval of the mean of the answers' scores.

    Raises:
        ValueError: there are no answers.
    """
    if not answers:
        raise ValueError(f"no answers to estimate {statistic.name} from")
    features = statistic.tabulate(answers)
    groups = features.group_count
    total = features.values.sum(axis=0)
    score = float(statistic.score_of(total, groups))
    if statistic.maximum is None:
        bounds = mean_interval(np.array([answer.score for answer in answers]))
        low, high = (math.exp(min(bound, LARGEST_EXPONENT)) for bound in bounds)
        return Estimate(score, low, high, len(answers), score)
    maximum = statistic.maximum_of(groups)
    assert maximum is not None
    sums = resampled_sums(features.values, features.groups, np.random.default_rng(seed))
    low, high = interval(statistic.score_of(sums, groups), features.groups)
    scores = statistic.group_scores(total, groups)
    unseen = statistic.unseen(scores, (scores, statistic.maximum - scores), features.groups)
    down, up = unseen.room()
    return Estimate(score, min(low, score - down), max(high, score + up), len(answers), maximum)
