"""The three figures over k: orders of the blocks, inputs of calibration, and text against mixed
calibration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reports.report.figures import curves_svg
from reports.report.lines import Line
from reports.report.studies.selection import (
    FULL_PRECISION_INPUTS,
    curve,
    grouped,
    mixed_precision,
    typical_alpha,
    typical_order,
)
from reports.report.studies.study import Criterion, Study

FEWEST_POINTS = 4  # of a curve for each calibration mixture


def orders(lines: Sequence[Line], criterion: Criterion) -> Study | None:
    """Orders of the blocks; None where fewer than two were run."""
    shown = [
        line
        for line in mixed_precision(lines)
        if line.alpha == typical_alpha(lines) and line.cell.inputs == FULL_PRECISION_INPUTS
    ]
    groups = grouped(shown, lambda line: line.cell.order)
    if len(groups) < 2 or typical_order(lines) not in groups:
        return None
    text = (
        f"Which blocks get the low-bit method first. Below, {criterion.differences} of every order"
        " to the entropy order at the same k, question by question."
    )
    return _over_k("Order of the blocks", text, groups, typical_order(lines), criterion)


def inputs(lines: Sequence[Line], criterion: Criterion) -> Study | None:
    """Inputs of calibration, in the order of blocks for which the most inputs were tried."""
    shown = [line for line in mixed_precision(lines) if line.alpha == typical_alpha(lines)]
    by_order = grouped(shown, lambda line: line.cell.order)
    tried = [grouped(group, lambda line: line.cell.inputs) for group in by_order.values()]
    groups = max(
        tried, key=lambda group: sum(map(len, group.values())) * (len(group) > 1), default={}
    )
    if len(groups) < 2 or FULL_PRECISION_INPUTS not in groups:
        return None
    text = (
        "What blocks are calibrated on, at equal bytes: full-precision inputs, grafts of two"
        " whole-model runs, or the outputs of the quantized blocks before them. Below,"
        f" {criterion.differences} to full-precision inputs at the same k."
    )
    return _over_k("Inputs of calibration", text, groups, FULL_PRECISION_INPUTS, criterion)


def calibrations(lines: Sequence[Line], criterion: Criterion) -> Study | None:
    """Calibration on text alone and on mixtures; None where fewer than two were run over k."""
    shown = [
        line
        for line in mixed_precision(lines)
        if line.cell.inputs == FULL_PRECISION_INPUTS and line.cell.order == typical_order(lines)
    ]
    groups = grouped(shown, lambda line: f"alpha {line.alpha:g}")
    groups = {name: group for name, group in groups.items() if len(group) >= FEWEST_POINTS}
    reference = f"alpha {typical_alpha(lines):g}" if lines else ""
    if len(groups) < 2 or reference not in groups:
        return None
    text = (
        "Calibration on text alone (alpha 0) and on mixtures, over k. Below,"
        f" {criterion.differences} to {reference} at the same k."
    )
    return _over_k("Text against mixed calibration", text, groups, reference, criterion)


def _over_k(
    title: str,
    text: str,
    groups: Mapping[str, Sequence[Line]],
    reference: str,
    criterion: Criterion,
) -> Study:
    """Curves over k, and a table of paired differences to the reference group."""
    curves = [
        curve(
            name,
            group,
            criterion,
            lambda line: line.cell.k,
            ":" if name.startswith("random") else "-",
        )
        for name, group in groups.items()
    ]
    by_k = {name: {line.cell.k: line for line in group} for name, group in groups.items()}
    base = by_k.pop(reference)
    ks = sorted({k for group in by_k.values() for k in group} & base.keys())
    rows = [
        (name, *(criterion.difference(group[k], base[k]) if k in group else "—" for k in ks))
        for name, group in by_k.items()
    ]
    svg = curves_svg(
        curves,
        "blocks with the low-bit method (k)",
        criterion.axis,
        integers=True,
        log=criterion.log,
    )
    return Study(title, text, svg, ("", *(f"k={k}" for k in ks)), rows)
