"""Two variants on the same questions: how far they are apart, with an interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reports.records.results import SuiteResult
from reports.statistics.estimate import LEVEL, RESAMPLES, Floats
from reports.statistics.paired import Paired, compare_with_draws


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
    """Compare two variants window by window of the same text: exp of the mean difference of their
    losses, with a percentile bootstrap over windows. Raises ValueError where they have no window in
    common.
    """
    change, draws, windows = perplexity_draws(first, second, seed=seed)
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(draws, [tail, 100 - tail])
    return Ratio(*(float(np.exp(value)) for value in (change, low, high)), windows)


def perplexity_draws(
    first: SuiteResult, second: SuiteResult, *, seed: int = 0
) -> tuple[float, Floats, int]:
    """(mean difference of the losses in nats a token, its (RESAMPLES,) draws, windows)."""
    mine, theirs = _losses(first), _losses(second)
    common = sorted(mine.keys() & theirs.keys())
    if not common:
        raise ValueError("the two variants have no window in common")
    change = np.array([mine[window] - theirs[window] for window in common])
    return float(change.mean()), _resampled_means(change, np.random.default_rng(seed)), len(common)


def _losses(result: SuiteResult) -> dict[str, float]:
    """Nats a token, by window."""
    names = [metric.metric for metric in result.metrics if metric.statistic == "perplexity"]
    return {
        answer.question_id: answer.scores[name]
        for name in names[:1]
        for answer in result.answers
        if name in answer.scores
    }


def significant(value: float) -> str:
    """Three digits, or all of a whole number above a thousand."""
    return f"{value:#.3g}".rstrip(".") if value < 1000 else f"{value:,.0f}"


@dataclass(frozen=True)
class Difference:
    """First minus second in percentage points, a mean over suites, with its 95 % interval.
    questions: that both were asked.
    """

    points: float
    low: float
    high: float
    questions: int

    def __str__(self) -> str:
        return f"{self.points:+.1f} [{self.low:+.1f}, {self.high:+.1f}]"


def paired_difference(
    first: Mapping[str, SuiteResult], second: Mapping[str, SuiteResult], *, seed: int = 0
) -> Difference:
    """Compare by suite what both answered, question by question; suites weigh the same.

    Every suite counts under its own primary metrics, in per cent of what can be had (MME: of its
    points), so that on equal questions this is the difference of the two means that the leaderboard
    shows. The interval is a percentile bootstrap over clusters (pictures, pairs, circular groups)
    of all suites together. Texts are left out: see `perplexity_ratio`. Raises ValueError where no
    suite has a question in common.
    """
    return mean_difference(suite_differences(first, second, seed=seed))


@dataclass(frozen=True)
class SuiteDifference:
    """One primary metric of one suite. maximum: of the metric; draws: resampled differences, in its
    unit.
    """

    suite: str
    paired: Paired
    maximum: float
    draws: Floats


def suite_differences(
    first: Mapping[str, SuiteResult], second: Mapping[str, SuiteResult], *, seed: int = 0
) -> list[SuiteDifference]:
    """Of every primary metric of every suite of which both answered a question; texts are left out."""
    found = []
    for number, suite in enumerate(sorted(first.keys() & second.keys())):
        theirs = {metric.metric: metric for metric in second[suite].metrics}
        for metric in first[suite].metrics:
            if (
                not metric.primary
                or metric.statistic == "perplexity"
                or metric.metric not in theirs
            ):
                continue
            try:
                paired, draws = compare_with_draws(
                    first[suite], second[suite], metric, seed=seed + number
                )
            except ValueError:  # no question of this metric is common
                continue
            found.append(
                SuiteDifference(
                    suite, paired, min(metric.maximum, theirs[metric.metric].maximum), draws
                )
            )
    return found


def mean_difference(differences: Sequence[SuiteDifference]) -> Difference:
    """Over suites, each in per cent of what can be had."""
    points, draws = mean_draws(differences)
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(draws, [tail, 100 - tail])
    return Difference(points, float(low), float(high), sum(d.paired.questions for d in differences))


def mean_draws(differences: Sequence[SuiteDifference]) -> tuple[float, Floats]:
    """(points, their (RESAMPLES,) draws) of the mean over suites."""
    suites: dict[str, list[SuiteDifference]] = {}
    for one in differences:
        suites.setdefault(one.suite, []).append(one)
    if not suites:
        raise ValueError("the two variants have no question in common")
    points = [
        100 * sum(d.paired.difference for d in group) / sum(d.maximum for d in group)
        for group in suites.values()
    ]
    draws: list[Floats] = [
        100 * sum(d.draws for d in group) / sum(d.maximum for d in group)
        for group in suites.values()
    ]
    mean: Floats = np.mean(draws, axis=0)
    return float(np.mean(points)), mean


def _resampled_means(values: Floats, rng: np.random.Generator) -> Floats:
    """Means of RESAMPLES resamples."""
    weights = rng.multinomial(
        len(values), np.full(len(values), 1 / len(values)), size=RESAMPLES
    ) / len(values)
    means: Floats = weights @ values
    return means
