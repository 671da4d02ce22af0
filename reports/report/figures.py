"""Figures as SVG text."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
Point = tuple[str, float, float, tuple[float, float, float]]


def pareto_svg(
    families: Mapping[str, Sequence[Point]],
    y: str = "mean over suites, %",
    *,
    lower: bool = False,
    bytes_a_bit: float = 0.0,
) -> str:
    """A score against paper bits and against stored bits, side by side, each with its front.
    families: points (label, paper bits, stored bits, (score, low, high)) that belong together, such
    as one method at several bits, by name. y: what the score is; lower: whether less of it is
    better, on a logarithmic axis. bytes_a_bit: stored bytes of the model for each stored bit a
    weight, for an axis of bytes.
    """
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axis, place, title in (
        (left, 1, "bits as papers count them"),
        (right, 2, "bits as stored"),
    ):
        for number, (name, points) in enumerate(families.items()):
            ordered = sorted(points, key=lambda p: p[place])
            means = [p[3][0] for p in ordered]
            spread = [[p[3][0] - p[3][1] for p in ordered], [p[3][2] - p[3][0] for p in ordered]]
            style = {
                "marker": "o",
                "markersize": 4,
                "capsize": 2,
                "linewidth": 1,
                "color": _color(number),
            }
            axis.errorbar(
                [p[place] for p in ordered],
                means,
                yerr=spread,
                elinewidth=0.8,
                label=_plain(name),
                **style,
            )
        front = _front(
            [p for points in families.values() for p in points], place, -1 if lower else 1
        )
        axis.step(
            [p[place] for p in front],
            [p[3][0] for p in front],
            where="post",
            color="#999999",
            linewidth=0.8,
            zorder=0,
        )
        axis.set_xscale("log", base=2)
        axis.set_xticks([1, 2, 3, 4, 8, 16], labels=["1", "2", "3", "4", "8", "16"])
        axis.set_xlim(0.95, 18)
        axis.set_xlabel(f"{title}, per weight")
        axis.grid(alpha=0.25)
    if bytes_a_bit:
        _bytes_axis(right, bytes_a_bit)
    left.set_ylabel(y)
    left.set_yscale("log" if lower else "linear")
    right.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8)
    return _svg(figure)


def _bytes_axis(axis: Axes, bytes_a_bit: float) -> None:
    """The same places in bytes, above."""
    unit, name = (2**30, "GiB") if 16 * bytes_a_bit >= 2**30 else (2**20, "MiB")
    above = axis.secondary_xaxis(
        "top",
        functions=(lambda bits: bits * bytes_a_bit / unit, lambda size: size * unit / bytes_a_bit),
    )
    ticks = [bits * bytes_a_bit / unit for bits in (1, 2, 3, 4, 8, 16)]
    above.set_xticks(ticks, labels=[f"{tick:.3g}" for tick in ticks])
    above.minorticks_off()
    above.set_xlabel(f"stored, {name}")


def _front(points: Sequence[Point], place: int, sign: int) -> list[Point]:
    """The points that no other beats: nothing with as few bits was better. sign: 1 where more is
    better, else -1.
    """
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p[place], -sign * p[3][0])):
        if not front or sign * point[3][0] > sign * front[-1][3][0]:
            front.append(point)
    return front


@dataclass(frozen=True)
class Curve:
    """points: (x, y, low, high), by rising x. style: matplotlib's line style."""

    label: str
    points: Sequence[tuple[float, float, float, float]]
    style: str


def curves_svg(
    curves: Sequence[Curve],
    x: str,
    y: str = "mean over suites, %",
    *,
    whole: bool = False,
    log: bool = False,
) -> str:
    """Lines with intervals over one axis. x, y: what the axes show. whole: ticks at whole numbers
    only. log: a logarithmic y axis.
    """
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    axis = figure.subplots()
    for number, curve in enumerate(curves):
        xs, ys = [p[0] for p in curve.points], [p[1] for p in curve.points]
        spread = [[p[1] - p[2] for p in curve.points], [p[3] - p[1] for p in curve.points]]
        axis.errorbar(
            xs,
            ys,
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
    if whole:
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
