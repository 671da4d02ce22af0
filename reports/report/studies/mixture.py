"""The figure of scores over the calibration mixture."""

from __future__ import annotations

from collections.abc import Sequence

from reports.report.figures import curves_svg
from reports.report.lines import Line
from reports.report.studies.selection import (
    FULL_PRECISION_INPUTS,
    curve,
    grouped,
    typical_order,
)
from reports.report.studies.study import Criterion, Study


def mixture(lines: Sequence[Line], criterion: Criterion) -> Study | None:
    """Scores over alpha; None where no variant was calibrated with three of them."""
    shown = [
        line
        for line in lines
        if line.cell.inputs == FULL_PRECISION_INPUTS
        and (line.cell.k == 0 or line.cell.order == typical_order(lines))
    ]
    groups = {
        name: group
        for name, group in grouped(shown, _name).items()
        if len({line.alpha for line in group}) > 2
    }
    if not groups:
        return None
    curves = [
        curve(name, group, criterion, lambda line: line.alpha) for name, group in groups.items()
    ]
    alphas = sorted({line.alpha for group in groups.values() for line in group})
    rows = []
    for name, group in groups.items():
        by_alpha = {line.alpha: line for line in group}
        text_alone = by_alpha.get(0.0)
        if text_alone is not None:
            differences = (
                criterion.difference(by_alpha[alpha], text_alone) if alpha in by_alpha else "—"
                for alpha in alphas[1:]
            )
            rows.append((name, *differences))
    text = (
        f"Share of calibration tokens from image-text samples. Below, {criterion.differences} of"
        " each alpha to text alone, question by question."
    )
    svg = curves_svg(curves, "alpha", criterion.axis, log=criterion.log)
    head = ("", *(f"alpha {alpha:g}" for alpha in alphas[1:]))
    return Study("Calibration mixture", text, svg, head, rows)


def _name(line: Line) -> str:
    return line.cell.method + (f" k={line.cell.k}" if line.cell.k else "")
