"""What a study is, and what its variants are compared by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reports.report.lines import Line
from reports.report.references import ratio_of, same_weights
from reports.statistics.mean import paired_difference
from reports.statistics.statistic import Statistic

Value = tuple[float, float, float]  # a score and its 95 % interval


@dataclass(frozen=True)
class Study:
    """One question that a store answers, as a figure, a table or both.

    Attributes:
        text: how to read it.
        svg: the figure, or "".
        head: headings of the table.
        rows: of the table, empty without one.
    """

    title: str
    text: str
    svg: str = ""
    head: tuple[str, ...] = ()
    rows: Sequence[tuple[str, ...]] = ()


@dataclass(frozen=True)
class Criterion:
    """What variants are compared by.

    Attributes:
        axis: its name on an axis.
        score: of a variant; None where it has none.
        difference: of two variants, in words.
        differences: what `difference` is called, in the plural.
        lower_is_better: whether less of it is better.
        log: whether its axis is logarithmic.
    """

    axis: str
    score: Callable[[Line], Value | None]
    difference: Callable[[Line, Line], str]
    differences: str
    lower_is_better: bool = False
    log: bool = False

    def value(self, line: Line) -> Value:
        """The score of a variant that has one."""
        value = self.score(line)
        assert value is not None, "lines without a score were left out"
        return value


def criteria(lines: Sequence[Line]) -> list[Criterion]:
    """The mean over suites, and the perplexity if any variant has one."""
    texts = dict.fromkeys(s.statistic for line in lines if (s := line.text_score) is not None)
    return [MEAN_OVER_SUITES, *(_text_criterion(statistic) for statistic in texts)]


def _mean(line: Line) -> Value | None:
    return line.mean.percent if line.mean else None


def _difference_of_means(first: Line, second: Line) -> str:
    if same_weights(first, second):
        return "same model"
    return str(paired_difference(first.by_suite, second.by_suite))


MEAN_OVER_SUITES = Criterion(
    "mean over suites, %", _mean, _difference_of_means, "differences in points"
)


def _text_criterion(statistic: Statistic) -> Criterion:
    def score(line: Line) -> Value | None:
        text = line.text_score
        if text is None or text.statistic != statistic:
            return None
        return text.value, text.low, text.high

    def ratio(first: Line, second: Line) -> str:
        return "same model" if same_weights(first, second) else str(ratio_of(first, second))

    return Criterion(
        statistic.name,
        score,
        ratio,
        f"ratios of {statistic.name}",
        lower_is_better=statistic.lower_is_better,
        log=True,
    )
