"""Figures as SVG text."""

from __future__ import annotations

import io
from collections.abc import Sequence

from matplotlib.figure import Figure

Point = tuple[str, float, float, tuple[float, float, float]]


def tradeoff_svg(points: Sequence[Point]) -> str:
    """Mean score against paper bits and against stored bits, side by side. points: (label, paper bits, stored bits, (mean, low, high))."""
    if not points:
        return ""
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axis, place, title in ((left, 1, "bits as papers count them"), (right, 2, "bits as stored")):
        for point in points:
            mean, low, high = point[3]
            bits = point[place]
            axis.errorbar(bits, mean, yerr=[[mean - low], [high - mean]], fmt="o", markersize=5, capsize=2, color="#2f6fb5")
            axis.annotate(point[0].replace("$", r"\$"), (bits, mean), xytext=(6, 3), textcoords="offset points", fontsize=8)
        axis.set_xscale("log", base=2)
        axis.set_xticks([1, 2, 3, 4, 8, 16], labels=["1", "2", "3", "4", "8", "16"])
        axis.set_xlabel(f"{title}, per weight")
        axis.grid(alpha=0.25)
    left.set_ylabel("mean over suites, %")
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
