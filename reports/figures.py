"""Figures as SVG text."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

Point = tuple[str, float, float, tuple[float, float, float]]


LETTER, GAP, LABEL_HEIGHT = 0.055, 0.1, 0.045  # in powers of two of the x axis, the last in parts of the y axis


def _name_points(axis: Axes, points: Sequence[Point], place: int) -> None:
    """A name beside each point, from the highest down; one that would lie on another slides below it and keeps a line to its point."""
    low, high = axis.get_ylim()
    height = LABEL_HEIGHT * (high - low)
    taken: list[tuple[float, float, float]] = []
    for point in sorted(points, key=lambda p: -p[3][0]):
        bits, mean = point[place], point[3][0]
        left = math.log2(bits) + GAP
        right, y = left + LETTER * len(point[0]), mean
        while any(left < end and start < right and abs(y - level) < 0.99 * height for start, end, level in taken):
            y -= height / 8
        taken.append((left, right, y))
        line = {"arrowstyle": "-", "linewidth": 0.4, "color": "#888888", "relpos": (0, 0.5)} if y < mean else None
        text = point[0].replace("$", r"\$")
        axis.annotate(text, (bits, mean), (2**left, y), va="center", fontsize=8, arrowprops=line, annotation_clip=False)


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
        axis.set_xscale("log", base=2)
        axis.set_xticks([1, 2, 3, 4, 8, 16], labels=["1", "2", "3", "4", "8", "16"])
        axis.set_xlim(0.95, 22)  # room for the names on the right
        axis.set_xlabel(f"{title}, per weight")
        axis.grid(alpha=0.25)
    for axis, place in ((left, 1), (right, 2)):
        _name_points(axis, points, place)
    left.set_ylabel("mean over suites, %")
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
