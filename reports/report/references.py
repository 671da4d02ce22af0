"""Every variant compared with full precision and with GPTQ at 4 bits, on the same questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from reports.paper.numbers import GPTQ_4
from reports.records.results import SuiteResult
from reports.report.lines import Comparison, Line
from reports.statistics.mean import mean_difference, suite_differences
from reports.statistics.perplexity import Ratio, perplexity_ratio, text_statistic
from reports.statistics.significance import holm


def compare_with_references(lines: Sequence[Line]) -> list[Line]:
    """Fill `vs_full` and `vs_four` of every line; None where a model has no such reference."""
    return [
        replace(
            line,
            vs_full=_comparison(line, _full_precision(line, lines)),
            vs_four=_comparison(line, _four_bits(line, lines)),
        )
        for line in lines
    ]


def ratio_of(first: Line, second: Line) -> Ratio | None:
    """Perplexity of the first over that of the second; None where either has no text."""
    texts = [_text_result(line) for line in (first, second)]
    if texts[0] is None or texts[1] is None:
        return None
    return perplexity_ratio(texts[0], texts[1])


def same_weights(first: Line, second: Line) -> bool:
    """Whether two names stand for equal weights."""
    return {one.cell.variant for one in first.results} == {
        one.cell.variant for one in second.results
    }


def _text_result(line: Line) -> SuiteResult | None:
    results = (one.result for one in line.results)
    return next((result for result in results if text_statistic(result) is not None), None)


def _full_precision(line: Line, lines: Sequence[Line]) -> Line | None:
    return next(
        (one for one in lines if one.model == line.model and one.cell.uses(None, None)), None
    )


def _four_bits(line: Line, lines: Sequence[Line]) -> Line | None:
    """GPTQ at 4 bits, calibrated like the variant if there is one such."""
    references = [
        other
        for other in lines
        if other.model == line.model and other.cell.uses(None, GPTQ_4) and other.cell.inputs == "fp"
    ]

    def unlike(other: Line) -> tuple[bool, bool]:
        return (
            other.cell.alpha != line.cell.alpha,
            other.cell.calibration_seed != line.cell.calibration_seed,
        )

    return min(references, key=unlike, default=None)


def _comparison(line: Line, reference: Line | None) -> Comparison | None:
    if reference is None or reference is line:
        return None
    suites = suite_differences(line.by_suite, reference.by_suite)
    return Comparison(
        reference.label,
        mean_difference(suites) if suites else None,
        ratio_of(line, reference),
        tuple(suites),
        holm({(d.suite, d.paired.metric): d.paired.p for d in suites}),
    )
