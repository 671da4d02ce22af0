"""Two variants on the same windows of text: the ratio of their perplexities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reports.records.results import SuiteResult
from reports.statistics.registry import find_statistic
from reports.statistics.resampling import LEVEL, mean_interval
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


def perplexity_ratio(first: SuiteResult, second: SuiteResult, *, level: float = LEVEL) -> Ratio:
    """Compare two variants window by window: exp of the mean difference of their losses.

    The interval is Student's, of the mean difference.

    Raises:
        ValueError: they have no window in common.
    """
    change, low, high, windows = perplexity_change(first, second, level=level)
    statistic = text_statistic(first)
    assert statistic is not None, "windows have losses"
    ratio, low, high = (float(np.exp(value)) for value in (change, low, high))
    return Ratio(ratio, low, high, windows, statistic)


def perplexity_change(
    first: SuiteResult, second: SuiteResult, *, level: float = LEVEL
) -> tuple[float, float, float, int]:
    """Mean difference of the losses in nats a token with its interval, and how many windows.

    One window says nothing about others: its interval is infinite.

    Raises:
        ValueError: they have no window in common.
    """
    losses, others = _losses(first), _losses(second)
    common = sorted(losses.keys() & others.keys())
    if not common:
        raise ValueError("the two variants have no window in common")
    change = np.array([losses[window] - others[window] for window in common])
    low, high = mean_interval(change, level)
    return float(change.mean()), low, high, len(common)


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
