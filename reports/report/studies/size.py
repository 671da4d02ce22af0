"""The figure of scores against size."""

from __future__ import annotations

from collections.abc import Sequence

from reports.records.results import Cell
from reports.report.figures import Point, pareto_svg
from reports.report.lines import Line
from reports.report.studies.selection import (
    DEPTH,
    FULL_PRECISION_INPUTS,
    typical_alpha,
    typical_order,
)
from reports.report.studies.study import Criterion, Study


def score_against_size(lines: Sequence[Line], criterion: Criterion) -> Study | None:
    """Scores over paper bits and over stored bits; None without variants."""
    shown = [
        line
        for line in lines
        if line.alpha == typical_alpha(lines)
        and line.cell.inputs == FULL_PRECISION_INPUTS
        and (line.cell.k == 0 or line.cell.order in (typical_order(lines), DEPTH))
    ]
    if not shown:
        return None
    families: dict[str, list[Point]] = {}
    for line in shown:
        point = Point(line.paper_bits, line.stored_bits, *criterion.value(line))
        families.setdefault(_family(line.cell), []).append(point)
    figure = pareto_svg(
        families,
        criterion.axis,
        lower_is_better=criterion.lower_is_better,
        log=criterion.log,
        bytes_per_bit=shown[0].stored_bytes / shown[0].stored_bits,
    )
    text = (
        "Every variant over the bits that papers count and over the bits and bytes that it stores."
        " Variants of one method are joined; the thin grey steps are the Pareto front: no variant"
        " that is at least as small scores better."
    )
    return Study("Score against size", text, figure)


def _family(cell: Cell) -> str:
    """Variants that make one curve: a method at several bits, LUQ at every k, allocation at several
    budgets.
    """
    if cell.budget_bits is not None:
        return f"{cell.method}, {'random plans' if cell.order.startswith('random') else cell.order}"
    if cell.low == "none":
        return cell.method.rstrip("0123456789")
    return f"{cell.method}, deepest first" if cell.order == DEPTH and cell.k else cell.method
