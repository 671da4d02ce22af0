"""Figures as SVG text."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Okabe and Ito's palette, readable with any kind of colour vision, then some more.
COLORS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#000000",
    "#7f7f7f",
    "#8c564b",
    "#9467bd",
    "#bcbd22",
    "#17becf",
)
BITS = (1, 2, 3, 4, 8, 16)  # ticks


@dataclass(frozen=True)
class Point:
    """One variant: its bits a weight, its score and the score's 95 % interval."""

    paper_bits: float
    stored_bits: float
    score: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """Points that a line joins.

    Attributes:
        points: (x, y, low, high), by rising x.
        style: matplotlib's line style.
    """

    label: str
    points: Sequence[tuple[float, float, float, float]]
    style: str


Bits = Callable[[Point], float]


def pareto_svg(
    families: Mapping[str, Sequence[Point]],
    y: str,
    *,
    lower_is_better: bool = False,
    log: bool = False,
    bytes_per_bit: float = 0.0,
) -> str:
    """Draw a score over paper bits and over stored bits, each with its Pareto front.

    Args:
        families: variants that a line joins, such as one method at several bits, by name.
        y: what the score is.
        lower_is_better: whether less of the score is better.
        log: a logarithmic axis of scores.
        bytes_per_bit: stored bytes of the model for each stored bit a weight, for an axis of bytes.
    """
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _size_panel(left, families, lambda p: p.paper_bits, lower_is_better)
    left.set_xlabel("bits as papers count them, per weight")
    _size_panel(right, families, lambda p: p.stored_bits, lower_is_better)
    right.set_xlabel("bits as stored, per weight")
    if bytes_per_bit:
        _bytes_axis(right, bytes_per_bit)
    left.set_ylabel(y)
    left.set_yscale("log" if log else "linear")
    right.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8)
    return _svg(figure)


def _size_panel(
    axis: Axes, families: Mapping[str, Sequence[Point]], bits: Bits, lower_is_better: bool
) -> None:
    for number, (name, points) in enumerate(families.items()):
        ordered = sorted(points, key=bits)
        axis.errorbar(
            [bits(p) for p in ordered],
            [p.score for p in ordered],
            yerr=[[p.score - p.low for p in ordered], [p.high - p.score for p in ordered]],
            elinewidth=0.8,
            label=_plain(name),
            marker="o",
            markersize=4,
            capsize=2,
            linewidth=1,
            color=_color(number),
        )
    everything = [point for points in families.values() for point in points]
    front = _pareto_front(everything, bits, -1 if lower_is_better else 1)
    axis.step(
        [bits(p) for p in front],
        [p.score for p in front],
        where="post",
        color="#999999",
        linewidth=0.8,
        zorder=0,
    )
    axis.set_xscale("log", base=2)
    axis.set_xticks(BITS, labels=list(map(str, BITS)))
    axis.set_xlim(0.95, 18)
    axis.grid(alpha=0.25)


def _bytes_axis(axis: Axes, bytes_per_bit: float) -> None:
    """The same places in bytes, above."""
    unit, name = (2**30, "GiB") if 16 * bytes_per_bit >= 2**30 else (2**20, "MiB")
    above = axis.secondary_xaxis(
        "top",
        functions=(
            lambda bits: np.asarray(bits, dtype=float) * bytes_per_bit / unit,
            lambda size: np.asarray(size, dtype=float) * unit / bytes_per_bit,
        ),
    )
    ticks = [bits * bytes_per_bit / unit for bits in BITS]
    above.set_xticks(ticks, labels=[f"{tick:.3g}" for tick in ticks])
    above.minorticks_off()
    above.set_xlabel(f"stored, {name}")


def _pareto_front(points: Sequence[Point], bits: Bits, sign: int) -> list[Point]:
    """Points that score better than all with as few bits; sign: 1 where more is better, else -1."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (bits(p), -sign * p.score)):
        if not front or sign * point.score > sign * front[-1].score:
            front.append(point)
    return front


def curves_svg(
    curves: Sequence[Curve], x: str, y: str, *, integers: bool = False, log: bool = False
) -> str:
    """Draw curves with intervals over one axis.

    Args:
        curves: with a line in the legend each.
        x: what the x axis shows.
        y: what the y axis shows.
        integers: ticks of x at integers only.
        log: a logarithmic y axis.
    """
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    axis = figure.subplots()
    for number, curve in enumerate(curves):
        spread = [[p[1] - p[2] for p in curve.points], [p[3] - p[1] for p in curve.points]]
        axis.errorbar(
            [p[0] for p in curve.points],
            [p[1] for p in curve.points],
            yerr=spread if any(map(any, spread)) else None,
            label=_plain(curve.label),
            linestyle=curve.style,
            marker="o",
            markersize=3.5,
            capsize=2,
            linewidth=1.2,
            elinewidth=0.6,
            color=_color(number),
        )
    if integers:
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    axis.set_yscale("log" if log else "linear")
    axis.grid(alpha=0.25)
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8)
    return _svg(figure)


def _plain(label: str) -> str:
    """Text in which matplotlib finds no formula, and which it does not leave out of the legend."""
    return " " * label.startswith("_") + label.replace("$", r"\$")


def _color(number: int) -> str:
    return COLORS[number % len(COLORS)]


def _svg(figure: Figure) -> str:
    """The same figure gives the same text."""
    buffer = io.StringIO()
    with rc_context({"svg.hashsalt": "luq"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
