"""The lines of the leaderboard as data: a variant with its costs, scores and comparisons."""

from __future__ import annotations

from dataclasses import dataclass

from reports.records.results import Cell, MetricScore, SuiteResult
from reports.statistics.mean import Difference, SuiteDifference
from reports.statistics.perplexity import Ratio
from reports.statistics.registry import find_statistic
from reports.statistics.statistic import Statistic

PERTURBED = "fp_perturbed"  # conf/method: full precision with noise, a measure of the noise floor


@dataclass(frozen=True)
class CellResult:
    """A cell and its result."""

    cell: Cell
    result: SuiteResult

    @property
    def label(self) -> str:
        """The variant's name, see `variant_label`."""
        return variant_label(self.cell)


def variant_label(cell: Cell) -> str:
    """The name of a variant in tables: the method, and what distinguishes it."""
    inputs = "" if cell.inputs == "fp" else f", {cell.inputs}"
    if cell.budget_bits is not None:
        order = "" if cell.order == "divergence by block" else f", {cell.order}"
        return f"{cell.method} {cell.budget_bits:g} bits{order}{inputs}"
    if cell.low == "none" or cell.k == 0:
        return cell.method + inputs
    order = "" if cell.order == "entropy" else f", {cell.order}"
    return f"{cell.method} k={cell.k}{order}{inputs}"


@dataclass(frozen=True)
class Column:
    """One primary metric of one suite, and its heading."""

    suite: str
    metric: str
    title: str


@dataclass(frozen=True)
class Score:
    """A score in the unit that is shown, with its 95 % interval.

    Attributes:
        maximum: what can be had; None where there is no maximum.
        n: how many answers it is made of.
        statistic: what made it.
    """

    value: float
    low: float
    high: float
    maximum: float | None
    n: int
    statistic: Statistic

    @property
    def text(self) -> str:
        """The score as tables show it."""
        return self.statistic.unit.text(self.value)

    @property
    def interval(self) -> str:
        """The interval as tables show it."""
        unit = self.statistic.unit
        return f"{unit.text(self.low)}–{unit.text(self.high)}"

    @property
    def percent(self) -> tuple[float, float, float]:
        """Score and interval in per cent of the maximum; zeros where there is no maximum."""
        if self.maximum is None:
            return 0.0, 0.0, 0.0
        low, high = 100 * self.low / self.maximum, 100 * self.high / self.maximum
        return 100 * self.value / self.maximum, low, high


def shown_score(metric: MetricScore) -> Score | None:
    """A metric in the unit that tables show; None where it has no score.

    Raises:
        ValueError: its statistic is unknown.
    """
    if metric.score is None or metric.ci_low is None or metric.ci_high is None:
        return None
    statistic = find_statistic(metric.statistic)
    scale = statistic.unit.scale
    return Score(
        metric.score * scale,
        metric.ci_low * scale,
        metric.ci_high * scale,
        metric.maximum * scale if statistic.averaged else None,
        metric.n,
        statistic,
    )


@dataclass(frozen=True)
class Comparison:
    """A variant minus a reference, on the same questions.

    Attributes:
        reference: label of the reference.
        mean: difference of the means over suites; None where no suite counts in the mean.
        ratio: of perplexities; None without a text.
        suites: difference under each primary metric.
        p: of each difference, corrected by Holm over all of them, by (suite, metric).
    """

    reference: str
    mean: Difference | None
    ratio: Ratio | None
    suites: tuple[SuiteDifference, ...]
    p: dict[tuple[str, str], float]

    @property
    def text(self) -> str:
        """The difference or the ratio as tables show it."""
        return str(self.mean or self.ratio or "—")

    def suite(self, name: str, metric: str) -> SuiteDifference | None:
        """The difference under one metric of one suite."""
        return next((d for d in self.suites if (d.suite, d.paired.metric) == (name, metric)), None)


@dataclass(frozen=True)
class Line:
    """One variant.

    Attributes:
        alpha: share of calibration tokens from image-text samples, 0 to 1.
        scores: by column.
        mean: over suites in per cent of what can be had; None where a suite has no score.
        questions: how many were answered.
        events: what quantizers reported.
        results: a cell and its result for each suite, at least one.
        vs_full: compared with full precision; None where there is none, and for itself.
        vs_four: compared with GPTQ at 4 bits; None where there is none, and for itself.
        pareto_optimal: no other variant of this model is both at least as small and better.
    """

    model: str
    label: str
    alpha: float
    paper_bits: float
    stored_bits: float
    stored_bytes: int
    scores: dict[Column, Score]
    mean: Score | None
    questions: int
    errors: int
    empty: int
    unparseable: int
    data_errors: int
    events: tuple[str, ...]
    command: str
    results: tuple[CellResult, ...]
    vs_full: Comparison | None = None
    vs_four: Comparison | None = None
    pareto_optimal: bool = False

    @property
    def cell(self) -> Cell:
        """The first cell, which says how the variant was made."""
        return self.results[0].cell

    @property
    def by_suite(self) -> dict[str, SuiteResult]:
        """Results by suite."""
        return {one.cell.suite: one.result for one in self.results}

    @property
    def text_score(self) -> Score | None:
        """The score that has no place in the mean: the perplexity of the text it was given."""
        return next((s for s in self.scores.values() if not s.statistic.averaged), None)


def bytes_text(count: int) -> str:
    """A number of bytes in MiB or GiB."""
    return f"{count / 2**20:.2f} MiB" if count < 2**30 else f"{count / 2**30:.2f} GiB"
