"""The figure of the ranking's stability over K."""

from __future__ import annotations

from reports.records.measurements import Stability
from reports.report.figures import Curve, curves_svg
from reports.report.studies.study import Study


def stability(measured: Stability) -> Study:
    """How much the ranking of the blocks changes with K and with the seed."""
    changes = [
        (k, change, change, change)
        for k, change in zip(measured.grid[1:], measured.changes, strict=True)
    ]
    seeds = [
        (k, (1 - tau) / 2, (1 - tau) / 2, (1 - tau) / 2)
        for k, tau in zip(measured.grid, measured.seed_tau, strict=True)
    ]
    curves = [
        Curve("from one K to the next", changes, "-"),
        Curve("from one seed to another", seeds, ":"),
    ]
    chosen = f"K = {measured.clusters}" if measured.clusters else "no K"
    text = (
        "How much the ranking of the blocks changes (share of pairs in another order, mean over"
        f" {measured.seeds} seeds): {chosen} by the rule ({measured.rule})."
    )
    svg = curves_svg(curves, "clusters K", "Kendall distance")
    return Study("Stability of the ranking over K", text, svg)
