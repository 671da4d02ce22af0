"""Two variants on the same questions: how far they are apart, with an interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from reports.results import SuiteResult
from reports.statistics import LEVEL, RESAMPLES, Floats


@dataclass(frozen=True)
class Ratio:
    """First perplexity over second, with its 95 % interval. windows: of text that both were given."""

    ratio: float
    low: float
    high: float
    windows: int

    def __str__(self) -> str:
        return f"×{significant(self.ratio)} [{significant(self.low)}, {significant(self.high)}]"


def perplexity_ratio(first: SuiteResult, second: SuiteResult, *, seed: int = 0) -> Ratio:
    """Compare two variants window by window of the same text: exp of the mean difference of their losses, with a percentile bootstrap over
    windows. Raises ValueError where they have no window in common."""
    mine, theirs = _by_cluster(first), _by_cluster(second)
    common = sorted(mine.keys() & theirs.keys())
    if not common:
        raise ValueError("the two variants have no window in common")
    change = np.array([mine[window][0] - theirs[window][0] for window in common])
    draws = _resampled_means(change, np.random.default_rng(seed))
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(draws, [tail, 100 - tail])
    return Ratio(*(float(np.exp(value)) for value in (change.mean(), low, high)), len(common))


def significant(value: float) -> str:
    """Three digits, or all of a whole number above a thousand."""
    return f"{value:#.3g}".rstrip(".") if value < 1000 else f"{value:,.0f}"


@dataclass(frozen=True)
class Difference:
    """First minus second in percentage points, a mean over suites, with its 95 % interval. questions: that both were asked."""

    points: float
    low: float
    high: float
    questions: int

    def __str__(self) -> str:
        return f"{self.points:+.1f} [{self.low:+.1f}, {self.high:+.1f}]"


def paired_difference(first: Mapping[str, SuiteResult], second: Mapping[str, SuiteResult], *, seed: int = 0) -> Difference:
    """Compare by suite what both answered, question by question; suites weigh the same.

    A cluster (picture, pair, circular group) counts with the mean score of its questions, a circular group with whether all are right. The
    interval is a percentile bootstrap over clusters. MME and POPE count by accuracy here, since points and F1 have no score for one
    question. Raises ValueError where no suite has a question in common.
    """
    rng = np.random.default_rng(seed)
    means, draws, questions = [], [], 0
    for suite in sorted(first.keys() & second.keys()):
        mine, theirs = _by_cluster(first[suite]), _by_cluster(second[suite])
        common = sorted(mine.keys() & theirs.keys())
        if not common:
            continue
        change = np.array([mine[cluster][0] - theirs[cluster][0] for cluster in common])
        questions += sum(mine[cluster][1] for cluster in common)
        means.append(float(change.mean()))
        draws.append(_resampled_means(change, rng))
    if not means:
        raise ValueError("the two variants have no question in common")
    mean_draws: Floats = 100 * np.mean(draws, axis=0)
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(mean_draws, [tail, 100 - tail])
    return Difference(100 * float(np.mean(means)), float(low), float(high), questions)


def _resampled_means(values: Floats, rng: np.random.Generator) -> Floats:
    """Means of RESAMPLES resamples."""
    weights = rng.multinomial(len(values), np.full(len(values), 1 / len(values)), size=RESAMPLES) / len(values)
    means: Floats = weights @ values
    return means


def _by_cluster(result: SuiteResult) -> dict[str, tuple[float, int]]:
    """(score from 0 to 1, questions) of every cluster, under the primary metric that applies to a question."""
    primary = [metric for metric in result.metrics if metric.primary]
    scores: dict[str, list[float]] = {}
    for answer in result.answers:
        found = [answer.scores[metric.metric] for metric in primary if metric.metric in answer.scores]
        if found:
            scores.setdefault(answer.cluster, []).append(found[0])
    circular = any(metric.statistic == "circular" for metric in primary)
    return {
        cluster: (float(all(v == 1 for v in values)) if circular else float(np.mean(values)), len(values))
        for cluster, values in scores.items()
    }
