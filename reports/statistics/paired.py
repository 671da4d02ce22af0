"""Two variants on the same questions of one suite: how far apart they are under its own metric, and
whether chance explains it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reports.records.results import MetricScore, SuiteResult
from reports.statistics.registry import find_statistic
from reports.statistics.resampling import LEVEL, Floats, Unseen, interval, resampled_sums_of_alike
from reports.statistics.statistic import Judged


@dataclass(frozen=True)
class Paired:
    """A paired difference under one metric, in the metric's own unit.

    Attributes:
        first: score of the first variant on the common questions.
        second: score of the second variant on them.
        difference: first minus second.
        low: lower end of the difference's interval.
        high: upper end of it.
        p: probability of a difference at least as large by chance, two-sided.
        test: name of the test behind `p`.
        clusters: how many pictures, pairs or circular groups both have.
        questions: how many questions both have.
        sampled: the interval from resampled clusters alone.
        unseen: what clusters of other kinds could do to the difference.
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
    sampled: tuple[float, float]
    unseen: Unseen


def compare(
    first: SuiteResult,
    second: SuiteResult,
    metric: MetricScore,
    *,
    seed: int = 0,
    level: float = LEVEL,
) -> Paired:
    """Compare two variants under one metric that both have.

    The interval is a bootstrap: clusters (pictures, pairs, circular groups) are resampled with the
    answers of both variants, within the groups of a grouped statistic. It leaves room for what the
    clusters have not shown (`Unseen`): where few were asked, or all agree, for much.

    Args:
        first: answers of the first variant.
        second: answers of the second variant.
        metric: the metric.
        seed: of the resamples.
        level: confidence of the interval, two-sided.

    Raises:
        ValueError: no question is common, or the metric is compared by `perplexity_ratio`.
    """
    statistic = find_statistic(metric.statistic)
    if statistic.maximum is None:
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
    count = one.group_count

    def difference(sums: Floats, others: Floats) -> Floats:
        return statistic.score_of(sums, count) - statistic.score_of(others, count)

    totals = [features.values.sum(axis=0) for features in (one, other)]
    scores = [statistic.group_scores(total, count) for total in totals]
    rng = np.random.default_rng(seed)
    both = np.concatenate([one.values, other.values], axis=1)
    draws = difference(*np.split(resampled_sums_of_alike(both, one.groups, rng), 2, axis=1))
    sampled = interval(draws, one.groups, level)
    change, far = scores[0] - scores[1], statistic.maximum
    unseen = statistic.unseen(scores[0], (far + change, far - change), one.groups)
    down, up = unseen.room(level)
    p, test = statistic.paired_test(one.values, other.values, difference, rng)
    observed = float(difference(*totals))
    return Paired(
        metric=metric.metric,
        first=float(statistic.score_of(totals[0], count)),
        second=float(statistic.score_of(totals[1], count)),
        difference=observed,
        low=min(sampled[0], observed - down),
        high=max(sampled[1], observed + up),
        p=p,
        test=test,
        clusters=len(one.groups),
        questions=len(common),
        sampled=sampled,
        unseen=unseen,
    )


def _judged(result: SuiteResult, metric: str) -> dict[str, Judged]:
    """Answers that have a score under this metric, by question."""
    return {
        a.question_id: Judged(a.cluster, a.scores[metric], a.group, a.gold, a.said, a.parsed)
        for a in result.answers
        if metric in a.scores
    }
