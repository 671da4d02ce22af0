"""Every variant beside full precision and beside 4 bits, on the same questions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from reports.records.results import SuiteResult, write_records
from reports.report.leaderboard import Line
from reports.statistics.mean import (
    Difference,
    Ratio,
    SuiteDifference,
    mean_difference,
    perplexity_ratio,
    suite_differences,
)
from reports.statistics.paired import holm

FULL, FOUR = "full precision", "4 bits"


@dataclass(frozen=True)
class Against:
    """A variant minus a reference. kind:

    FULL or FOUR; reference: its label. mean: over suites; ratio: of perplexities; None where there
    is none. suites: one for each primary metric; p: of each, corrected by Holm over all of them, by
    (suite, metric).
    """

    kind: str
    reference: str
    mean: Difference | None
    ratio: Ratio | None
    suites: tuple[SuiteDifference, ...]
    p: dict[tuple[str, str], float]

    def suite(self, name: str, metric: str) -> SuiteDifference | None:
        return next((d for d in self.suites if (d.suite, d.paired.metric) == (name, metric)), None)


def compared(lines: Sequence[Line]) -> list[Line]:
    """The lines with `full` and `four`; without where a model has no such variant, and for that
    variant itself.
    """
    found = []
    for line in lines:
        full, four = _full_precision(line, lines), _four_bits(line, lines)
        found.append(
            replace(line, full=_against(FULL, line, full), four=_against(FOUR, line, four))
        )
    return found


def results_of(line: Line) -> dict[str, SuiteResult]:
    return {row.cell.suite: row.result for row in line.cells}


def ratio_of(first: Line, second: Line) -> Ratio | None:
    """First perplexity over second; None where either has none."""
    texts = [
        next(
            (
                row.result
                for row in line.cells
                if row.result.metrics and row.result.metrics[0].statistic == "perplexity"
            ),
            None,
        )
        for line in (first, second)
    ]
    return (
        perplexity_ratio(texts[0], texts[1])
        if texts[0] is not None and texts[1] is not None
        else None
    )


def same_model(first: Line, second: Line) -> bool:
    """Whether two names stand for equal weights."""
    return {row.cell.variant for row in first.cells} == {row.cell.variant for row in second.cells}


def _full_precision(line: Line, lines: Sequence[Line]) -> Line | None:
    return next(
        (
            other
            for other in lines
            if other.model == line.model and other.cells[0].cell.uses(None, None)
        ),
        None,
    )


def _four_bits(line: Line, lines: Sequence[Line]) -> Line | None:
    """GPTQ at 4 bits, calibrated like the variant if there is one such."""
    plain = [
        other
        for other in lines
        if other.model == line.model
        and other.cells[0].cell.uses(None, {"method": "gptq", "bits": 4})
        and other.cells[0].cell.inputs == "fp"
    ]
    mine = line.cells[0].cell

    def unlike(other: Line) -> tuple[bool, bool]:
        cell = other.cells[0].cell
        return cell.alpha != mine.alpha, cell.calibration_seed != mine.calibration_seed

    return min(plain, key=unlike, default=None)


def _against(kind: str, line: Line, reference: Line | None) -> Against | None:
    if reference is None or reference is line:
        return None
    mine, theirs = results_of(line), results_of(reference)
    suites = suite_differences(mine, theirs)
    return Against(
        kind,
        reference.label,
        mean_difference(suites) if suites else None,
        ratio_of(line, reference),
        tuple(suites),
        holm({(d.suite, d.paired.metric): d.paired.p for d in suites}),
    )


COLUMNS = (
    "model",
    "variant",
    "reference",
    "suite",
    "metric",
    "score",
    "reference_score",
    "difference",
    "low",
    "high",
    "p",
    "p_holm",
    "test",
    "clusters",
    "questions",
)


def records(lines: Sequence[Line]) -> Iterator[dict[str, object]]:
    """One for each variant, reference and metric, in the columns of comparisons.csv; scores in the
    metric's own unit.
    """
    for line in lines:
        for against in (line.full, line.four):
            for one in against.suites if against else ():
                paired = one.paired
                values = (
                    line.model,
                    line.label,
                    against.reference,
                    one.suite,
                    paired.metric,
                    paired.first,
                    paired.second,
                    paired.difference,
                    paired.low,
                    paired.high,
                    paired.p,
                    against.p[one.suite, paired.metric],
                    paired.test,
                    paired.clusters,
                    paired.questions,
                )
                yield dict(zip(COLUMNS, values, strict=True))


def write_comparisons(lines: Sequence[Line], path: Path) -> None:
    write_records(COLUMNS, records(lines), path)
