"""Which variants a study shows: those that differ in what it is about, and in nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from reports.report.figures import Curve
from reports.report.lines import PERTURBED, Line
from reports.report.studies.study import Criterion

FULL_PRECISION_INPUTS = "fp"
ENTROPY, DEPTH = "entropy", "depth"
DEFAULT_ALPHA = 0.5


def without_repeats(lines: Sequence[Line]) -> list[Line]:
    """Variants of the most frequent calibration seed, without perturbed full precision."""
    seeds = [line.cell.calibration_seed for line in lines]
    typical = max(sorted(set(seeds)), key=seeds.count, default=0)
    return [
        line
        for line in lines
        if line.cell.calibration_seed == typical and line.cell.method != PERTURBED
    ]


def typical_alpha(lines: Sequence[Line]) -> float:
    """The default alpha, or where it was not run the most frequent one."""
    alphas = [line.alpha for line in lines]
    return DEFAULT_ALPHA if DEFAULT_ALPHA in alphas else max(set(alphas), key=alphas.count)


def typical_order(lines: Sequence[Line]) -> str:
    """The entropy order; where entropy was measured in other ways only, the most frequent way."""
    orders = [
        line.cell.order for line in mixed_precision(lines) if line.cell.order.startswith(ENTROPY)
    ]
    return ENTROPY if ENTROPY in orders or not orders else max(set(orders), key=orders.count)


def mixed_precision(lines: Sequence[Line]) -> list[Line]:
    """Variants of which k blocks get a low-bit method, such as LUQ."""
    return [line for line in lines if line.cell.low != "none" and line.cell.budget_bits is None]


def grouped(lines: Sequence[Line], name: Callable[[Line], str]) -> dict[str, list[Line]]:
    """Lines by name, in the order in which the names first appear."""
    groups: dict[str, list[Line]] = {}
    for line in lines:
        groups.setdefault(name(line), []).append(line)
    return groups


def curve(
    label: str,
    lines: Sequence[Line],
    criterion: Criterion,
    x: Callable[[Line], float],
    style: str = "-",
) -> Curve:
    """The scores of some variants over `x`."""
    points = [(x(line), *criterion.value(line)) for line in sorted(lines, key=x)]
    return Curve(label, points, style)
