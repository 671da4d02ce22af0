"""Two variants on the same questions of one suite: how far apart under its own metric, and whether chance explains it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import binomtest

from reports.results import Answer, MetricScore, SuiteResult
from reports.statistics import GROUPED, LEVEL, RESAMPLES, STATISTICS, Floats, Judged

BINARY = ("mean", "circular")


@dataclass(frozen=True)
class Paired:
    """first, second: scores on the common questions, in the metric's own unit; difference: first minus second with its 95 % interval.
    p: that a difference at least as large comes about by chance, two-sided. test: `exact McNemar`, where every cluster is right or wrong,
    or `bootstrap`. clusters, questions: that both were asked."""

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


def compare(first: SuiteResult, second: SuiteResult, metric: MetricScore, *, seed: int = 0) -> Paired:
    """Under one metric that both have. Clusters (pictures, pairs, circular groups) are resampled with what both variants made of them,
    within MME's categories and POPE's splits. Raises ValueError where no question is common, and for a perplexity: that is compared by
    `perplexity_ratio`."""
    if metric.statistic not in STATISTICS or metric.statistic == "perplexity":
        raise ValueError(f"{metric.metric} is no metric of answers; compare perplexities with perplexity_ratio")
    mine, theirs = _judged(first, metric), _judged(second, metric)
    common = [question for question in mine if question in theirs]
    if not common:
        raise ValueError(f"{first.suite_title}: the two variants have no question of {metric.metric} in common")
    groups = metric.statistic in GROUPED
    pairs = [(_kept(mine[q], grouped=groups), _kept(theirs[q], grouped=groups)) for q in common]
    features = [STATISTICS[metric.statistic]([pair[side] for pair in pairs])[0] for side in (0, 1)]
    score_of = STATISTICS[metric.statistic]([pair[0] for pair in pairs])[1]
    scores = [float(score_of(part.sum(axis=0))) for part in features]
    strata = list(dict.fromkeys((a.group, a.cluster) for a, _ in pairs))
    draws = _differences(features, [group for group, _ in strata], score_of, np.random.default_rng(seed))
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(draws, [tail, 100 - tail])
    binary = metric.statistic in BINARY and _one_verdict_a_cluster(features)
    p = _mcnemar(features) if binary else _bootstrap_p(draws)
    return Paired(
        metric.metric, scores[0], scores[1], scores[0] - scores[1], float(low), float(high), p, "exact McNemar" if binary else "bootstrap",
        len(strata), len(common),
    )  # fmt: skip


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's correction: the probability, for each comparison, that any of them is called a difference by chance (Holm 1979)."""
    adjusted: dict[str, float] = {}
    largest = 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def _judged(result: SuiteResult, metric: MetricScore) -> dict[str, Judged]:
    return {answer.question_id: _verdict(answer, metric.metric) for answer in result.answers if metric.metric in answer.scores}


def _verdict(answer: Answer, metric: str) -> Judged:
    return Judged(answer.cluster, answer.scores[metric], answer.group, answer.gold, answer.said, answer.parsed)


def _kept(judged: Judged, *, grouped: bool) -> Judged:
    return judged if grouped else replace(judged, group="")


def _differences(features: list[Floats], strata: list[str], score_of: Callable[[Floats], Floats], rng: np.random.Generator) -> Floats:
    """(RESAMPLES,): the same resampled clusters for both variants. Clusters that are alike for both are drawn together."""
    names, both = np.asarray(strata), np.concatenate(features, axis=1)
    totals = np.zeros((RESAMPLES, both.shape[1]))
    for name in np.unique(names):
        kinds, counts = np.unique(both[names == name], axis=0, return_counts=True)
        totals += rng.multinomial(counts.sum(), counts / counts.sum(), size=RESAMPLES) @ kinds
    first, second = np.split(totals, 2, axis=1)
    return score_of(first) - score_of(second)


def _one_verdict_a_cluster(features: list[Floats]) -> bool:
    """Whether every cluster is one thing that is right or wrong."""
    return all(bool(np.isin(part[:, 0], (0.0, 1.0)).all() and (part[:, 1] == 1).all()) for part in features)


def _mcnemar(features: list[Floats]) -> float:
    """The exact test: of what only one variant got right, as many should fall to either."""
    better = int((features[0][:, 0] > features[1][:, 0]).sum())
    worse = int((features[0][:, 0] < features[1][:, 0]).sum())
    return float(binomtest(better, better + worse, 0.5).pvalue) if better + worse else 1.0


def _bootstrap_p(draws: Floats) -> float:
    """Two-sided: twice the share of resamples on the less likely side of zero."""
    below, above = int((draws <= 0).sum()), int((draws >= 0).sum())
    return min(1.0, 2 * (min(below, above) + 1) / (len(draws) + 1))
