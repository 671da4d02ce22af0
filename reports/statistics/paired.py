"""Two variants on the same questions of one suite: how far apart under its own metric, and whether
chance explains it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy.stats import binomtest

from reports.records.results import MetricScore, SuiteResult
from reports.statistics.estimate import GROUPED, LEVEL, RESAMPLES, STATISTICS, Floats, Judged

BINARY = ("mean", "circular")


@dataclass(frozen=True)
class Paired:
    """first, second: scores on the common questions, in the metric's own unit; difference: first
    minus second with its 95 % interval. p: that a difference at least as large comes about by
    chance, two-sided. test: `exact McNemar`, where every cluster is right or wrong, or `bootstrap`.
    clusters, questions: that both were asked.
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
    """Under one metric that both have.

    Clusters (pictures, pairs, circular groups) are resampled with what both variants made of them,
    within MME's categories and POPE's splits. Raises ValueError where no question is common, and
    for a perplexity: that is compared by `perplexity_ratio`.
    """
    return compare_with_draws(first, second, metric, seed=seed)[0]


def compare_with_draws(
    first: SuiteResult, second: SuiteResult, metric: MetricScore, *, seed: int = 0
) -> tuple[Paired, Floats]:
    """`compare`, and the (RESAMPLES,) differences behind its interval."""
    if metric.statistic not in STATISTICS or metric.statistic == "perplexity":
        raise ValueError(
            f"{metric.metric} is no metric of answers; compare perplexities with perplexity_ratio"
        )
    mine, theirs = _judged(first, metric), _judged(second, metric)
    common = [question for question in mine if question in theirs]
    if not common:
        raise ValueError(
            f"{first.suite_title}: the two variants have no question of {metric.metric} in common"
        )
    sides = [[judged[question] for question in common] for judged in (mine, theirs)]
    (one, score_of), (other, _) = (STATISTICS[metric.statistic](side) for side in sides)
    features = [one, other]
    scores = [float(score_of(part.sum(axis=0))) for part in features]
    strata = list(dict.fromkeys((judged.group, judged.cluster) for judged in sides[0]))
    draws = _differences(
        features, [group for group, _ in strata], score_of, np.random.default_rng(seed)
    )
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(draws, [tail, 100 - tail])
    binary = metric.statistic in BINARY and _one_verdict_a_cluster(features)
    p = _mcnemar(features) if binary else _bootstrap_p(draws)
    paired = Paired(
        metric.metric,
        scores[0],
        scores[1],
        scores[0] - scores[1],
        float(low),
        float(high),
        p,
        "exact McNemar" if binary else "bootstrap",
        len(strata),
        len(common),
    )
    return paired, draws


Name = TypeVar("Name")


def holm(p_values: Mapping[Name, float]) -> dict[Name, float]:
    """Holm's correction: the probability, for each comparison, that any of them is called a
    difference by chance (Holm 1979).
    """
    adjusted: dict[Name, float] = {}
    largest = 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def _judged(result: SuiteResult, metric: MetricScore) -> dict[str, Judged]:
    """By question; groups only where the statistic has them."""
    name, grouped = metric.metric, metric.statistic in GROUPED
    return {
        a.question_id: Judged(
            a.cluster, a.scores[name], a.group if grouped else "", a.gold, a.said, a.parsed
        )
        for a in result.answers
        if name in a.scores
    }


def _differences(
    features: list[Floats],
    strata: list[str],
    score_of: Callable[[Floats], Floats],
    rng: np.random.Generator,
) -> Floats:
    """(RESAMPLES,): the same resampled clusters for both variants.

    Clusters that are alike for both are drawn together.
    """
    names, both = np.asarray(strata), np.concatenate(features, axis=1)
    totals = np.zeros((RESAMPLES, both.shape[1]))
    for name in np.unique(names):
        kinds, counts = np.unique(both[names == name], axis=0, return_counts=True)
        totals += rng.multinomial(counts.sum(), counts / counts.sum(), size=RESAMPLES) @ kinds
    first, second = np.split(totals, 2, axis=1)
    return score_of(first) - score_of(second)


def _one_verdict_a_cluster(features: list[Floats]) -> bool:
    """Whether every cluster is one thing that is right or wrong."""
    return all(
        bool(np.isin(part[:, 0], (0.0, 1.0)).all() and (part[:, 1] == 1).all()) for part in features
    )


def _mcnemar(features: list[Floats]) -> float:
    """The exact test: of what only one variant got right, as many should fall to either."""
    better = int((features[0][:, 0] > features[1][:, 0]).sum())
    worse = int((features[0][:, 0] < features[1][:, 0]).sum())
    return float(binomtest(better, better + worse, 0.5).pvalue) if better + worse else 1.0


def _bootstrap_p(draws: Floats) -> float:
    """Two-sided: twice the share of resamples on the less likely side of zero."""
    below, above = int((draws <= 0).sum()), int((draws >= 0).sum())
    return min(1.0, 2 * (min(below, above) + 1) / (len(draws) + 1))
