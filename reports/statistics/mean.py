"""Two variants over several suites: the difference of their means, question by question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reports.records.results import SuiteResult
from reports.statistics.paired import Paired, compare_with_draws
from reports.statistics.registry import find_statistic
from reports.statistics.resampling import RESAMPLES, Floats, interval
from reports.statistics.statistic import Statistic


@dataclass(frozen=True)
class Difference:
    """First minus second as a mean over suites, with its 95 % interval.

    Attributes:
        points: percentage points.
        questions: how many questions both variants have.
    """

    points: float
    low: float
    high: float
    questions: int

    def __str__(self) -> str:
        return f"{self.points:+.1f} [{self.low:+.1f}, {self.high:+.1f}]"


@dataclass(frozen=True)
class SuiteDifference:
    """The difference under one primary metric of one suite.

    Attributes:
        maximum: of the metric.
        statistic: of the metric.
        draws: resampled differences in the metric's unit, (RESAMPLES,).
    """

    suite: str
    paired: Paired
    maximum: float
    statistic: Statistic
    draws: Floats


def paired_difference(
    first: Mapping[str, SuiteResult], second: Mapping[str, SuiteResult], *, seed: int = 0
) -> Difference:
    """Compare the suites that both variants have, question by question; suites weigh the same.

    Every suite counts under its own primary metrics, in per cent of what can be had, so that on
    equal questions this is the difference of the two means that the leaderboard shows. The interval
    is a percentile bootstrap over clusters (pictures, pairs, circular groups) of all suites
    together. Texts do not count, see `perplexity_ratio`.

    Args:
        first: results by suite.
        second: results by suite.
        seed: of the resamples.

    Raises:
        ValueError: no suite has a common question.
    """
    return mean_difference(suite_differences(first, second, seed=seed))


def suite_differences(
    first: Mapping[str, SuiteResult], second: Mapping[str, SuiteResult], *, seed: int = 0
) -> list[SuiteDifference]:
    """Compare every primary metric of every suite that has common questions; texts do not count."""
    differences = []
    for number, suite in enumerate(sorted(first.keys() & second.keys())):
        others = {metric.metric: metric for metric in second[suite].metrics}
        for metric in first[suite].metrics:
            other, statistic = others.get(metric.metric), find_statistic(metric.statistic)
            if other is None or not metric.primary or not statistic.averaged:
                continue
            try:
                paired, draws = compare_with_draws(
                    first[suite], second[suite], metric, seed=seed + number
                )
            except ValueError:  # no question of this metric is common
                continue
            maximum = min(metric.maximum, other.maximum)
            differences.append(SuiteDifference(suite, paired, maximum, statistic, draws))
    return differences


def mean_difference(differences: Sequence[SuiteDifference]) -> Difference:
    """Average differences over suites, each in per cent of what can be had.

    Raises:
        ValueError: there are none.
    """
    points, draws = mean_draws(differences)
    return Difference(points, *interval(draws), sum(d.paired.questions for d in differences))


def mean_draws(differences: Sequence[SuiteDifference]) -> tuple[float, Floats]:
    """Points of the mean over suites, and the (RESAMPLES,) draws behind its interval.

    Raises:
        ValueError: there are no differences.
    """
    suites: dict[str, list[SuiteDifference]] = {}
    for one in differences:
        suites.setdefault(one.suite, []).append(one)
    if not suites:
        raise ValueError("the two variants have no question in common")
    points = [
        100 * sum(d.paired.difference for d in group) / sum(d.maximum for d in group)
        for group in suites.values()
    ]
    draws = [
        100 * sum((d.draws for d in group), np.zeros(RESAMPLES)) / sum(d.maximum for d in group)
        for group in suites.values()
    ]
    mean: Floats = np.mean(draws, axis=0)
    return float(np.mean(points)), mean
