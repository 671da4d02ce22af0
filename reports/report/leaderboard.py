"""The leaderboard: variants with their costs and their scores, as lines and columns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from reports.records.results import Cell, Failure, MetricScore, Problem, Row, variant_label
from reports.statistics.mean import significant

PERTURBED = "fp_perturbed"  # conf/method

if TYPE_CHECKING:
    from reports.report.references import Against


@dataclass(frozen=True)
class Column:
    """One primary metric of one suite, and its heading."""

    suite: str
    metric: str
    title: str


@dataclass(frozen=True)
class Score:
    """In per cent, or for MME in points. maximum: 100 or the points that can be had. perplexity:
    whether it is one instead, without a maximum and better where lower.
    """

    value: float
    low: float
    high: float
    maximum: float
    n: int
    perplexity: bool = False

    @property
    def text(self) -> str:
        return self._told(self.value)

    @property
    def interval(self) -> str:
        return f"{self._told(self.low)}–{self._told(self.high)}"

    def _told(self, value: float) -> str:
        return (
            significant(value)
            if self.perplexity
            else f"{value:.{1 if self.maximum == 100 else 0}f}"
        )

    @property
    def percent(self) -> tuple[float, float, float]:
        return tuple(100 * v / self.maximum for v in (self.value, self.low, self.high))  # type: ignore[return-value]


@dataclass(frozen=True)
class Line:
    """One variant: its costs, its score in each column, and the mean over suites where every suite
    has a score. full, four: beside full precision and 4 bits, see `against.compared`. front:
    whether nothing of its model that stores no more is better.
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
    cells: tuple[Row, ...]
    full: Against | None = None
    four: Against | None = None
    front: bool = False

    @property
    def perplexity(self) -> Score | None:
        """Of the text it was given."""
        return next((score for score in self.scores.values() if score.perplexity), None)

    def row(self, board: Leaderboard) -> list[Score | None]:
        """What stands below the leaderboard's titles."""
        return [
            *([self.mean] if board.has_mean else []),
            *(self.scores.get(column) for column in board.columns),
        ]


@dataclass(frozen=True)
class Leaderboard:
    columns: list[Column]
    lines: list[Line]
    failures: list[Failure]
    problems: list[Problem]

    @property
    def has_mean(self) -> bool:
        """Whether any variant has one; perplexities are not averaged."""
        return any(line.mean is not None for line in self.lines)

    @property
    def titles(self) -> list[str]:
        return [*(["mean"] if self.has_mean else []), *(column.title for column in self.columns)]


def build(
    rows: Sequence[Row], failures: Sequence[Failure], problems: Sequence[Problem]
) -> Leaderboard:
    """Variants by falling stored bits, suites in the order in which they were configured."""
    columns: dict[Column, None] = {}
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in sorted(rows, key=lambda r: _suite_rank(r.result.suite_title)):
        for metric in row.result.metrics:
            if metric.primary:
                columns.setdefault(_column(row, metric))
        c = row.cell
        groups.setdefault(
            (c.model, variant_label(c), c.low, c.high, c.alpha, c.calibration_seed), []
        ).append(row)
    # What all rows of a name have in common is not said.
    kinds: dict[tuple[str, str], list[Cell]] = {}
    for row in rows:
        kinds.setdefault((row.cell.model, variant_label(row.cell)), []).append(row.cell)
    lines = []
    for group in groups.values():
        cell = group[0].cell
        name = variant_label(cell)
        which = f" of {cell.high}" if cell.low == "none" else f" of {cell.low} and {cell.high}"
        alike = kinds[cell.model, name]
        which = which if len({(other.low, other.high) for other in alike}) > 1 else ""
        alpha = f", alpha {cell.alpha:g}" if len({other.alpha for other in alike}) > 1 else ""
        seed = (
            f", seed {cell.calibration_seed}"
            if len({other.calibration_seed for other in alike}) > 1
            else ""
        )
        lines.append(_line(group, name + which + alpha + seed))
    lines.sort(key=lambda line: (line.model, -line.stored_bits, -line.paper_bits, line.label))
    return Leaderboard(list(columns), _with_front(lines), list(failures), list(problems))


def _with_front(lines: Sequence[Line]) -> list[Line]:
    """Marks, for each model, the variants that no other of as many questions beats with as few
    stored bytes; by the mean, or where there is none by perplexity. One that lacks a suite cannot
    be compared.
    """
    wanted: dict[str, set[Column]] = {}
    for line in lines:
        wanted.setdefault(line.model, set()).update(line.scores)
    running = [
        line
        for line in lines
        if set(line.scores) == wanted[line.model]
        and not _perturbed(line)
        and _worth(line) > -math.inf
    ]
    on_front = [line for line in running if not any(_beats(other, line) for other in running)]
    return [replace(line, front=any(line is one for one in on_front)) for line in lines]


def _beats(other: Line, line: Line) -> bool:
    """As good in no more bytes, and better in one of the two."""
    if (other.model, other.questions) != (
        line.model,
        line.questions,
    ) or other.stored_bytes > line.stored_bytes:
        return False
    return _worth(other) > _worth(line) or (
        _worth(other) == _worth(line) and other.stored_bytes < line.stored_bytes
    )


def _perturbed(line: Line) -> bool:
    """A yardstick of noise, nobody's choice."""
    return line.cells[0].cell.method == PERTURBED


def _worth(line: Line) -> float:
    """More is better; minus infinity without a score."""
    if line.mean is not None:
        return line.mean.value
    return -line.perplexity.value if line.perplexity is not None else -math.inf


_SUITE_ORDER = (
    "MME",
    "MMBench",
    "TextVQA",
    "VQAv2",
    "GQA",
    "POPE",
    "ChartQA",
    "DocVQA",
    "MathVista",
)


def _suite_rank(title: str) -> tuple[int, str]:
    return (_SUITE_ORDER.index(title) if title in _SUITE_ORDER else len(_SUITE_ORDER), title)


def _column(row: Row, metric: MetricScore) -> Column:
    several = sum(m.primary for m in row.result.metrics) > 1
    part = metric.metric.removeprefix("mme_").removesuffix("_score")
    return Column(
        row.result.suite,
        metric.metric,
        f"{row.result.suite_title} {part}" if several else row.result.suite_title,
    )


def shown_score(metric: MetricScore) -> Score | None:
    """A metric as tables have it; None where it has no score."""
    if metric.score is None or metric.ci_low is None or metric.ci_high is None:
        return None
    perplexity = metric.statistic == "perplexity"
    scale = 100 if metric.maximum == 1 and not perplexity else 1
    return Score(
        metric.score * scale,
        metric.ci_low * scale,
        metric.ci_high * scale,
        metric.maximum * scale,
        metric.n,
        perplexity,
    )


def _line(group: Sequence[Row], label: str) -> Line:
    cell = group[0].cell
    scores = {
        _column(r, m): s
        for r in group
        for m in r.result.metrics
        if m.primary and (s := shown_score(m)) is not None
    }
    return Line(
        cell.model,
        label,
        cell.alpha,
        cell.paper_bits,
        cell.stored_bits,
        cell.stored_bytes,
        scores,
        _mean(group),
        sum(r.result.n for r in group),
        sum(r.result.errors for r in group),
        sum(r.result.empty for r in group),
        sum(r.result.unparseable for r in group),
        sum(r.result.data_errors for r in group),
        tuple(dict.fromkeys(e for r in group for e in r.cell.events)),
        cell.command,
        tuple(group),
    )


def _mean(group: Iterable[Row]) -> Score | None:
    """Mean over suites in per cent of what can be had; its interval adds the suites' half-widths as
    independent errors. Perplexities have no place in it.
    """
    shares: list[tuple[float, float]] = []
    count = 0
    for row in group:
        parts = [s for m in row.result.metrics if m.primary and (s := shown_score(m)) is not None]
        if not any(m.primary for m in row.result.metrics):
            continue  # a submission: the official server scores it
        if not parts:
            return None
        if parts[0].perplexity:
            continue
        total = sum(s.maximum for s in parts)
        half = math.sqrt(sum(((s.high - s.low) / 2) ** 2 for s in parts))
        shares.append((100 * sum(s.value for s in parts) / total, 100 * half / total))
        count += row.result.n
    if not shares:
        return None
    mean = sum(share for share, _ in shares) / len(shares)
    half = math.sqrt(sum(h * h for _, h in shares)) / len(shares)
    return Score(mean, max(0.0, mean - half), min(100.0, mean + half), 100.0, count)


def bytes_text(count: int) -> str:
    return f"{count / 2**20:.2f} MiB" if count < 2**30 else f"{count / 2**30:.2f} GiB"
