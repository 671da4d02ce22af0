"""Two variants on the same windows of text: the ratio of their perplexities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reports.records.results import SuiteResult
from reports.statistics.registry import find_statistic
from reports.statistics.resampling import Floats, interval, resampled_means
from reports.statistics.statistic import Statistic, significant


@dataclass(frozen=True)
class Ratio:
    """First perplexity over second, with its 95 % interval.

    Attributes:
        windows: how many windows of text both variants have.
        statistic: what made the scores; says whether a ratio below 1 is better.
    """

    ratio: float
    low: float
    high: float
    windows: int
    statistic: Statistic

    def __str__(self) -> str:
        return f"×{significant(self.ratio)} [{significant(self.low)}, {significant(self.high)}]"


def perplexity_ratio(first: SuiteResult, second: SuiteResult, *, seed: int = 0) -> Ratio:
    """Compare two variants window by window: exp of the mean difference of their losses.

    The interval is a percentile bootstrap over windows.

    Raises:
        ValueError: they have no window in common.
    """
    change, draws, windows = perplexity_draws(first, second, seed=seed)
    statistic = text_statistic(first)
    assert statistic is not None, "windows have losses"
    low, high = interval(draws)
    ratio, low, high = (float(np.exp(value)) for value in (change, low, high))
    return Ratio(ratio, low, high, windows, statistic)


def perplexity_draws(
    first: SuiteResult, second: SuiteResult, *, seed: int = 0
) -> tuple[float, Floats, int]:
    """Mean difference of the losses in nats a token, its (RESAMPLES,) draws, and the windows.

    Raises:
        ValueError: they have no window in common.
    """
    losses, others = _losses(first), _losses(second)
    common = sorted(losses.keys() & others.keys())
    if not common:
        raise ValueError("the two variants have no window in common")
    change = np.array([losses[window] - others[window] for window in common])
    draws = resampled_means(change, np.random.default_rng(seed))
    return float(change.mean()), draws, len(common)


def text_statistic(result: SuiteResult) -> Statistic | None:
    """The statistic of a result on a text; None for a suite of questions."""
    statistics = (find_statistic(metric.statistic) for metric in result.metrics)
    return next((statistic for statistic in statistics if not statistic.averaged), None)


def _losses(result: SuiteResult) -> dict[str, float]:
    """Nats a token, by window."""
    names = [m.metric for m in result.metrics if not find_statistic(m.statistic).averaged]
    return {
        answer.question_id: answer.scores[name]
        for name in names[:1]
        for answer in result.answers
        if name in answer.scores
    }
