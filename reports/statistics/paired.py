"""Two variants on the same questions of one suite: how far apart they are under its own metric, and
whether chance explains it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reports.records.results import MetricScore, SuiteResult
from reports.statistics.registry import find_statistic
from reports.statistics.resampling import Floats, interval, resampled_sums_of_alike
from reports.statistics.statistic import Judged, Statistic


@dataclass(frozen=True)
class Paired:
    """A paired difference under one metric, in the metric's own unit.

    Attributes:
        first: score of the first variant on the common questions.
        second: score of the second variant on them.
        difference: first minus second.
        low: lower end of the difference's 95 % interval.
        high: upper end of it.
        p: probability of a difference at least as large by chance, two-sided.
        test: name of the test behind `p`.
        clusters: how many pictures, pairs or circular groups both have.
        questions: how many questions both have.
    """

    metric: str
    first: float
    second: float
    difference: float
    low: float
    high: float
    p: float
    test: str
    clusters: int
    questions: int


def compare(
    first: SuiteResult, second: SuiteResult, metric: MetricScore, *, seed: int = 0
) -> Paired:
    """Compare two variants under one metric that both have.

    Clusters (pictures, pairs, circular groups) are resampled with the answers of both variants,
    within the groups of a grouped statistic.

    Raises:
        ValueError: no question is common, or the metric is compared by `perplexity_ratio`.
    """
    return compare_with_draws(first, second, metric, seed=seed)[0]


def compare_with_draws(
    first: SuiteResult, second: SuiteResult, metric: MetricScore, *, seed: int = 0
) -> tuple[Paired, Floats]:
    """The same as `compare`, with the (RESAMPLES,) differences behind its interval."""
    statistic = find_statistic(metric.statistic)
    if not statistic.averaged:
        raise ValueError(
            f"{metric.metric} is no metric of answers; compare it with perplexity_ratio"
        )
    sides = [_judged(result, metric.metric) for result in (first, second)]
    common = [question for question in sides[0] if question in sides[1]]
    if not common:
        raise ValueError(
            f"{first.suite_title}: the two variants have no question of {metric.metric} in common"
        )
    one, other = (statistic.tabulate([side[question] for question in common]) for side in sides)
    scores = [
        float(statistic.score_of(features.values.sum(axis=0), features.group_count))
        for features in (one, other)
    ]
    draws = _differences(statistic, one.values, other.values, one.groups, seed)
    low, high = interval(draws)
    p, test = statistic.paired_test(one.values, other.values, draws)
    return Paired(
        metric=metric.metric,
        first=scores[0],
        second=scores[1],
        difference=scores[0] - scores[1],
        low=low,
        high=high,
        p=p,
        test=test,
        clusters=len(one.groups),
        questions=len(common),
    ), draws


def _judged(result: SuiteResult, metric: str) -> dict[str, Judged]:
    """Answers that have a score under this metric, by question."""
    return {
        a.question_id: Judged(a.cluster, a.scores[metric], a.group, a.gold, a.said, a.parsed)
        for a in result.answers
        if metric in a.scores
    }


def _differences(
    statistic: Statistic, first: Floats, second: Floats, groups: tuple[str, ...], seed: int
) -> Floats:
    """Differences of the scores, (RESAMPLES,), on the same resampled clusters for both variants."""
    both = np.concatenate([first, second], axis=1)
    sums = resampled_sums_of_alike(both, groups, np.random.default_rng(seed))
    count = len(set(groups))
    one, other = (statistic.score_of(part, count) for part in np.split(sums, 2, axis=1))
    return one - other
