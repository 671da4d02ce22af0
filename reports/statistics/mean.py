"""Two variants over several suites: the difference of their means, question by question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from reports.records.results import SuiteResult
from reports.statistics.paired import Paired, compare
from reports.statistics.registry import find_statistic
from reports.statistics.resampling import LEVEL, Unseen, root_of_squares
from reports.statistics.statistic import Statistic


@dataclass(frozen=True)
class Difference:
    """First minus second as a mean over suites, with its interval.

    Attributes:
        points: percentage points.
        questions: how many questions both variants have.
        clusters: how many pictures, pairs or circular groups both have.
    """

    points: float
    low: float
    high: float
    questions: int
    clusters: int

    def __str__(self) -> str:
        return f"{self.points:+.1f} [{self.low:+.1f}, {self.high:+.1f}]"


@dataclass(frozen=True)
class SuiteDifference:
    """The difference under one primary metric of one suite.

    Attributes:
        maximum: of the metric.
        statistic: of the metric.
    """

    suite: str
    paired: Paired
    maximum: float
    statistic: Statistic


def paired_difference(
    first: Mapping[str, SuiteResult], second: Mapping[str, SuiteResult], *, seed: int = 0
) -> Difference:
    """Compare the suites that both variants have, question by question; suites weigh the same.

    Every suite counts under its own primary metrics, in per cent of what can be had, so that on
    equal questions this is the difference of the two means that the leaderboard shows. The interval
    combines those of the suites, see `mean_difference`. Texts do not count, see `perplexity_ratio`.

    Args:
        first: results by suite.
        second: results by suite.
        seed: of the resamples.

    Raises:
        ValueError: no suite has a common question.
    """
    return mean_difference(suite_differences(first, second, seed=seed))


def suite_differences(
    first: Mapping[str, SuiteResult],
    second: Mapping[str, SuiteResult],
    *,
    seed: int = 0,
    level: float = LEVEL,
) -> list[SuiteDifference]:
    """Compare every primary metric of every suite that has common questions; texts do not count.

    Args:
        first: results by suite.
        second: results by suite.
        seed: of the resamples.
        level: confidence of the intervals, two-sided.
    """
    differences = []
    for number, suite in enumerate(sorted(first.keys() & second.keys())):
        others = {metric.metric: metric for metric in second[suite].metrics}
        for metric in first[suite].metrics:
            other, statistic = others.get(metric.metric), find_statistic(metric.statistic)
            if other is None or not metric.primary or not statistic.averaged:
                continue
            try:
                paired = compare(
                    first[suite], second[suite], metric, seed=seed + number, level=level
                )
            except ValueError:  # no question of this metric is common
                continue
            maximum = min(metric.maximum, other.maximum)
            differences.append(SuiteDifference(suite, paired, maximum, statistic))
    return differences


class Bounded(NamedTuple):
    """A value of one metric with its interval and what can be had, all in the metric's unit."""

    value: float
    low: float
    high: float
    maximum: float


def mean_difference(differences: Sequence[SuiteDifference], *, level: float = LEVEL) -> Difference:
    """Average differences over suites, each in per cent of what can be had.

    The intervals from resampled clusters combine as independent errors (MOVER); the room for what
    the clusters have not shown is that of all suites together.

    Args:
        differences: of all suites.
        level: confidence, two-sided, with which they were compared.

    Raises:
        ValueError: there are none.
    """
    if not differences:
        raise ValueError("the two variants have no question in common")
    suites: dict[str, list[Bounded]] = {}
    for one in differences:
        bounded = Bounded(one.paired.difference, *one.paired.sampled, one.maximum)
        suites.setdefault(one.suite, []).append(bounded)
    points, low, high = mean_over_suites(list(suites.values()))
    shares = [
        100 / sum(metric.maximum for metric in suites[one.suite]) / len(suites)
        for one in differences
    ]
    unseen = [one.paired.unseen for one in differences]
    down, up = Unseen(
        np.concatenate([share * u.down for share, u in zip(shares, unseen, strict=True)]),
        np.concatenate([share * u.up for share, u in zip(shares, unseen, strict=True)]),
        np.concatenate([u.counts for u in unseen]),
    ).room(level)
    return Difference(
        points,
        min(low, points - down),
        max(high, points + up),
        sum(one.paired.questions for one in differences),
        sum(one.paired.clusters for one in differences),
    )


def mean_over_suites(suites: Sequence[Sequence[Bounded]]) -> tuple[float, float, float]:
    """Mean over suites in per cent of what can be had, with its interval.

    Suites have different questions, so the sides of their intervals combine as independent errors
    (MOVER). Metrics of one suite may share questions; their sides add up.

    Args:
        suites: the metrics of each.

    Returns:
        (mean, low, high).
    """
    values, downs, ups = [], [], []
    for metrics in suites:
        share = 100 / sum(one.maximum for one in metrics) / len(suites)
        values.append(share * sum(one.value for one in metrics))
        downs.append(share * sum(one.value - one.low for one in metrics))
        ups.append(share * sum(one.high - one.value for one in metrics))
    mean = sum(values)
    return mean, mean - root_of_squares(downs), mean + root_of_squares(ups)
