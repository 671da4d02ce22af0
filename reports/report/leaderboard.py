"""The leaderboard: variants with their costs and their scores, as lines and columns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from reports.records.results import Cell, Failure, MetricScore
from reports.report.labels import agree, settings_of, unique_label
from reports.report.lines import (
    PERTURBED,
    CellResult,
    Column,
    Line,
    Score,
    shown_score,
)
from reports.report.read import Problem
from reports.statistics.mean import Bounded, mean_over_suites
from reports.statistics.registry import MEAN


@dataclass(frozen=True)
class Leaderboard:
    """All variants of a store, and what could not be shown."""

    columns: list[Column]
    lines: list[Line]
    failures: list[Failure]
    problems: list[Problem]

    @property
    def has_mean(self) -> bool:
        """Whether any variant has a mean over suites; perplexities are not averaged."""
        return any(line.mean is not None for line in self.lines)

    @property
    def titles(self) -> list[str]:
        """Headings of the columns of scores."""
        return [*(["mean"] if self.has_mean else []), *(column.title for column in self.columns)]

    def scores(self, line: Line) -> list[Score | None]:
        """The scores of a line below `titles`."""
        return [
            *([line.mean] if self.has_mean else []),
            *(line.scores.get(column) for column in self.columns),
        ]

    def missing_scores(self) -> list[tuple[str, list[str]]]:
        """Variants that lack a suite which another variant of their model has, and its headings."""
        missing = []
        for line in self.lines:
            expected = {
                c for other in self.lines if other.model == line.model for c in other.scores
            }
            titles = [c.title for c in self.columns if c in expected and c not in line.scores]
            if titles:
                missing.append((f"{line.model} {line.label}", titles))
        return missing


def build(
    results: Sequence[CellResult], failures: Sequence[Failure], problems: Sequence[Problem]
) -> Leaderboard:
    """Arrange results: variants by falling stored bits, suites in the order of papers."""
    columns: dict[Column, None] = {}
    variants: dict[tuple[str, str], list[list[CellResult]]] = {}
    for one in sorted(results, key=lambda one: _suite_rank(one.result.suite_title)):
        for metric in one.result.metrics:
            if metric.primary:
                columns.setdefault(_column(one, metric))
        c = one.cell
        _join(one, variants.setdefault((c.model, one.label), []))
    namesakes: dict[tuple[str, str], list[Cell]] = {}
    for one in results:
        namesakes.setdefault((one.cell.model, one.label), []).append(one.cell)
    lines = [
        _line(group, unique_label(group[0].cell, namesakes[name]))
        for name, groups in variants.items()
        for group in groups
    ]
    lines.sort(key=lambda line: (line.model, -line.stored_bits, -line.paper_bits, line.label))
    return Leaderboard(list(columns), _mark_pareto(lines), list(failures), list(problems))


def _join(one: CellResult, groups: list[list[CellResult]]) -> None:
    """Put a cell beside those of the same variant."""
    settings = settings_of(one.cell)
    for group in groups:
        if all(agree(settings, settings_of(other.cell)) for other in group):
            group.append(one)
            return
    groups.append([one])


def _mark_pareto(lines: Sequence[Line]) -> list[Line]:
    """Mark the variants of each model that are Pareto-optimal in stored bytes and quality.

    A variant that lacks a suite cannot be compared.
    """
    expected: dict[str, set[Column]] = {}
    for line in lines:
        expected.setdefault(line.model, set()).update(line.scores)
    candidates = [
        line
        for line in lines
        if set(line.scores) == expected[line.model]
        and line.cell.method != PERTURBED  # measures noise, nobody would choose it
        and _quality(line) > -math.inf
    ]
    optimal = {
        id(line) for line in candidates if not any(_beats(other, line) for other in candidates)
    }
    return [replace(line, pareto_optimal=id(line) in optimal) for line in lines]


def _beats(other: Line, line: Line) -> bool:
    """Whether `other` is as good in no more bytes, and better in one of the two."""
    if (other.model, other.questions) != (line.model, line.questions):
        return False
    if other.stored_bytes > line.stored_bytes:
        return False
    return _quality(other) > _quality(line) or (
        _quality(other) == _quality(line) and other.stored_bytes < line.stored_bytes
    )


def _quality(line: Line) -> float:
    """The mean, or without one the text's score; more is better, -inf without either."""
    if line.mean is not None:
        return line.mean.value
    if line.text_score is None:
        return -math.inf
    value = line.text_score.value
    return -value if line.text_score.statistic.lower_is_better else value


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


def _column(one: CellResult, metric: MetricScore) -> Column:
    title = one.result.suite_title
    if sum(m.primary for m in one.result.metrics) > 1:
        title += " " + metric.metric.removeprefix("mme_").removesuffix("_score")
    return Column(one.result.suite, metric.metric, title)


def _line(group: Sequence[CellResult], label: str) -> Line:
    cell, results = group[0].cell, [one.result for one in group]
    scores = {
        _column(one, metric): score
        for one in group
        for metric in one.result.metrics
        if metric.primary and (score := shown_score(metric)) is not None
    }
    return Line(
        model=cell.model,
        label=label,
        alpha=cell.alpha,
        paper_bits=cell.paper_bits,
        stored_bits=cell.stored_bits,
        stored_bytes=cell.stored_bytes,
        scores=scores,
        mean=_mean(group),
        questions=sum(result.n for result in results),
        errors=sum(result.errors for result in results),
        empty=sum(result.empty for result in results),
        unparseable=sum(result.unparseable for result in results),
        data_errors=sum(result.data_errors for result in results),
        events=tuple(dict.fromkeys(event for one in group for event in one.cell.events)),
        command=cell.command,
        results=tuple(group),
    )


def _mean(group: Iterable[CellResult]) -> Score | None:
    """Mean over suites in per cent of what can be had; None where a suite has no score.

    The interval is that of `mean_over_suites`.
    """
    suites: list[list[Bounded]] = []
    count = 0
    for one in group:
        primary = [metric for metric in one.result.metrics if metric.primary]
        if not primary:
            continue  # a submission: the official server scores it
        scores = [s for metric in primary if (s := shown_score(metric)) is not None]
        if not scores:
            return None
        counted = [
            Bounded(s.value, s.low, s.high, s.maximum) for s in scores if s.maximum is not None
        ]
        if not counted:
            continue
        suites.append(counted)
        count += one.result.n
    if not suites:
        return None
    mean, low, high = mean_over_suites(suites)
    return Score(mean, max(0.0, low), min(100.0, high), 100.0, count, MEAN)
