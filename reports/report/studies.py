"""What a sweep shows: one figure or table for each question that the cells and measurements of a
store can answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from reports.records.measurements import Entropy, Measurement, Orders, Search, Stability
from reports.records.results import Cell
from reports.report.figures import Curve, curves_svg, pareto_svg
from reports.report.leaderboard import PERTURBED, Line
from reports.report.noise import noise_floors
from reports.report.references import ratio_of, results_of, same_model
from reports.statistics.mean import paired_difference

USUAL_INPUTS = "fp"
DEPTH = "depth"


@dataclass(frozen=True)
class Study:
    """text: how to read it. svg: a figure, or "". head, rows: a table, or empty."""

    title: str
    text: str
    svg: str = ""
    head: tuple[str, ...] = ()
    rows: list[tuple[str, ...]] = field(default_factory=list)


@dataclass(frozen=True)
class Yardstick:
    """What variants are measured by. of:

    (value, low, high) of a line, None where it has none. difference: of two lines, as text. unit:
    of `difference`. lower: whether less is better, on a logarithmic axis.
    """

    axis: str
    of: Callable[[Line], tuple[float, float, float] | None]
    difference: Callable[[Line, Line], str]
    unit: str
    lower: bool = False


def difference(first: Line, second: Line) -> str:
    """First minus second in points with its interval, question by question."""
    return (
        "same model"
        if same_model(first, second)
        else str(paired_difference(results_of(first), results_of(second)))
    )


def _ratio(first: Line, second: Line) -> str:
    """First perplexity over second with its interval, window by window."""
    return "same model" if same_model(first, second) else str(ratio_of(first, second))


MEAN = Yardstick(
    "mean over suites, %",
    lambda line: line.mean.percent if line.mean else None,
    difference,
    "differences in points",
)
PERPLEXITY = Yardstick(
    "perplexity",
    lambda line: (p.value, p.low, p.high) if (p := line.perplexity) else None,
    _ratio,
    "ratios of perplexity",
    lower=True,
)


def studies(lines: Sequence[Line], measurements: Sequence[Measurement]) -> list[Study]:
    """All studies of all models that have enough to show."""
    models = list(
        dict.fromkeys([*(line.model for line in lines), *(m.model for m in measurements)])
    )
    found: list[Study] = []
    for model in models:
        measured = [m for m in measurements if m.model == model]
        suffix = f" ({model})" if len(models) > 1 else ""
        made: list[Study | None] = []
        for yard in (MEAN, PERPLEXITY):
            mine = _usual_seed(
                [line for line in lines if line.model == model and yard.of(line) is not None]
            )
            made += [
                make(mine, yard) for make in (_tradeoff, _orders, _inputs, _calibrations, _alphas)
            ]
        made += [*_measured(measured), _noise([line for line in lines if line.model == model])]
        found += [
            Study(s.title + suffix, s.text, s.svg, s.head, s.rows) for s in made if s is not None
        ]
    return found


def _cell(line: Line) -> Cell:
    return line.cells[0].cell


def _usual_seed(lines: Sequence[Line]) -> list[Line]:
    """Without repeats of the calibration, and without perturbed copies of full precision: see the
    noise floor.
    """
    seeds = [_cell(line).calibration_seed for line in lines]
    usual = max(sorted(set(seeds)), key=seeds.count, default=0)
    return [
        line
        for line in lines
        if _cell(line).calibration_seed == usual and _cell(line).method != PERTURBED
    ]


def _usual_alpha(lines: Sequence[Line]) -> float:
    alphas = [line.alpha for line in lines]
    return 0.5 if 0.5 in alphas else max(set(alphas), key=alphas.count)


def _usual_order(lines: Sequence[Line]) -> str:
    """`entropy`, or where it was measured in other ways only, the most frequent of these."""
    orders = [
        order for line in _prefixes(lines) if (order := _cell(line).order).startswith("entropy")
    ]
    return "entropy" if "entropy" in orders or not orders else max(set(orders), key=orders.count)


def _prefixes(lines: Sequence[Line]) -> list[Line]:
    """Variants with a low and a high method: LUQ and its kin."""
    return [line for line in lines if _cell(line).low != "none" and _cell(line).budget_bits is None]


def _curve(
    label: str, lines: Sequence[Line], yard: Yardstick, x: Callable[[Line], float], style: str = "-"
) -> Curve:
    return Curve(label, [(x(line), *_value(line, yard)) for line in sorted(lines, key=x)], style)


def _value(line: Line, yard: Yardstick) -> tuple[float, float, float]:
    found = yard.of(line)
    assert found is not None, "lines without a value were left out"
    return found


def _tradeoff(lines: Sequence[Line], yard: Yardstick) -> Study | None:
    usual = [
        line
        for line in lines
        if line.alpha == _usual_alpha(lines)
        and _cell(line).inputs == USUAL_INPUTS
        and (_cell(line).k == 0 or _cell(line).order in (_usual_order(lines), DEPTH))
    ]
    if not usual:
        return None
    families: dict[str, list[Line]] = {}
    for line in usual:
        families.setdefault(_family(_cell(line)), []).append(line)
    points = {name: [_point(line, yard) for line in group] for name, group in families.items()}
    bytes_a_bit = usual[0].stored_bytes / usual[0].stored_bits
    figure = pareto_svg(points, yard.axis, lower=yard.lower, bytes_a_bit=bytes_a_bit)
    text = (
        "The same variants against the bits that papers count and against the bits and bytes that"
        " are kept. Variants of one method are joined; the thin grey steps are the front: nothing"
        " smaller was better."
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


def _point(line: Line, yard: Yardstick) -> tuple[str, float, float, tuple[float, float, float]]:
    return line.label, line.paper_bits, line.stored_bits, _value(line, yard)


def _orders(lines: Sequence[Line], yard: Yardstick) -> Study | None:
    usual = [
        line
        for line in _prefixes(lines)
        if line.alpha == _usual_alpha(lines) and _cell(line).inputs == USUAL_INPUTS
    ]
    groups = _grouped(usual, lambda line: _cell(line).order)
    if len(groups) < 2 or _usual_order(lines) not in groups:
        return None
    text = (
        f"Which blocks go low first. Below, {yard.unit} of every order to the entropy order at the"
        " same k, question by question."
    )
    return _against("Order of the blocks", text, groups, _usual_order(lines), yard)


def _inputs(lines: Sequence[Line], yard: Yardstick) -> Study | None:
    """Compared in the order of blocks for which the most inputs were tried."""
    usual = [line for line in _prefixes(lines) if line.alpha == _usual_alpha(lines)]
    by_order = _grouped(usual, lambda line: _cell(line).order)
    tried = {
        order: _grouped(group, lambda line: _cell(line).inputs) for order, group in by_order.items()
    }
    groups = max(
        tried.values(),
        key=lambda group: sum(map(len, group.values())) * (len(group) > 1),
        default={},
    )
    if len(groups) < 2 or USUAL_INPUTS not in groups:
        return None
    text = (
        "What blocks are calibrated on, at equal bytes: full-precision inputs, grafts of two"
        f" whole-model runs, or behind this very plan's blocks. Below, {yard.unit} to"
        " full-precision inputs at the same k."
    )
    return _against("Inputs of calibration", text, groups, USUAL_INPUTS, yard)


def _calibrations(lines: Sequence[Line], yard: Yardstick) -> Study | None:
    usual = [
        line
        for line in _prefixes(lines)
        if _cell(line).inputs == USUAL_INPUTS and _cell(line).order == _usual_order(lines)
    ]
    groups = _grouped(usual, lambda line: f"alpha {line.alpha:g}")
    groups = {name: group for name, group in groups.items() if len(group) > 3}
    reference = f"alpha {_usual_alpha(lines):g}" if lines else ""
    if len(groups) < 2 or reference not in groups:
        return None
    text = (
        f"Calibration on text alone (alpha 0) and on mixtures, over k. Below, {yard.unit} to the"
        " usual mixture at the same k."
    )
    return _against("Text against mixed calibration", text, groups, reference, yard)


def _grouped(lines: Sequence[Line], name: Callable[[Line], str]) -> dict[str, list[Line]]:
    groups: dict[str, list[Line]] = {}
    for line in lines:
        groups.setdefault(name(line), []).append(line)
    return groups


def _against(
    title: str, text: str, groups: dict[str, list[Line]], reference: str, yard: Yardstick
) -> Study:
    """Curves over k, and a table of paired differences to the reference group."""
    styles = {name: ":" if name.startswith("random") else "-" for name in groups}
    curves = [
        _curve(name, group, yard, lambda line: _cell(line).k, styles[name])
        for name, group in groups.items()
    ]
    base = {_cell(line).k: line for line in groups[reference]}
    ks = sorted(
        {_cell(line).k for name, group in groups.items() if name != reference for line in group}
        & base.keys()
    )
    rows = []
    for name, group in groups.items():
        mine = {_cell(line).k: line for line in group}
        if name != reference:
            rows.append(
                (name, *(yard.difference(mine[k], base[k]) if k in mine else "—" for k in ks))
            )
    svg = curves_svg(curves, "blocks at the low method (k)", yard.axis, whole=True, log=yard.lower)
    return Study(title, text, svg, ("", *(f"k={k}" for k in ks)), rows)


def _alphas(lines: Sequence[Line], yard: Yardstick) -> Study | None:
    usual = [
        line
        for line in lines
        if _cell(line).inputs == USUAL_INPUTS
        and (_cell(line).k == 0 or _cell(line).order == _usual_order(lines))
    ]
    groups = _grouped(
        usual, lambda line: _cell(line).method + (f" k={_cell(line).k}" if _cell(line).k else "")
    )
    groups = {
        name: group for name, group in groups.items() if len({line.alpha for line in group}) > 2
    }
    if not groups:
        return None
    curves = [_curve(name, group, yard, lambda line: line.alpha) for name, group in groups.items()]
    alphas = sorted({line.alpha for group in groups.values() for line in group})
    rows = []
    for name, group in groups.items():
        mine = {line.alpha: line for line in group}
        if 0.0 in mine:
            rows.append(
                (
                    name,
                    *(
                        yard.difference(mine[a], mine[0.0]) if a in mine else "—"
                        for a in alphas[1:]
                    ),
                )
            )
    text = (
        f"Share of calibration tokens from image-text samples. Below, {yard.unit} of each alpha to"
        " text alone, question by question."
    )
    svg = curves_svg(curves, "alpha", yard.axis, log=yard.lower)
    return Study(
        "Calibration mixture", text, svg, ("", *(f"alpha {a:g}" for a in alphas[1:])), rows
    )


def _noise(lines: Sequence[Line]) -> Study | None:
    found = noise_floors(lines)
    if not found:
        return None
    text = (
        "How far scores move between repeats that differ in their seed alone: of the calibration"
        " data or, for full precision, of a perturbation of every weight by up to 2⁻⁸, the largest"
        " error of rounding to bfloat16. Deviations are standard deviations between repeats in"
        " points, with their 95 % interval; two single runs of the same thing lie within the floor"
        " of each other 19 times in 20."
    )
    titles = list(found[0].suites)
    rows = [
        (
            noise.label,
            str(noise.repeats),
            f"{noise.deviation:.2f} [{noise.low:.2f}, {noise.high:.2f}]",
            f"{noise.floor:.2f}",
            *(f"{noise.suites[title]:.2f}" if title in noise.suites else "—" for title in titles),
        )
        for noise in found
    ]
    return Study(
        "Noise floor", text, "", ("variant", "repeats", "mean over suites", "floor", *titles), rows
    )


def _measured(measurements: Sequence[Measurement]) -> Iterator[Study]:
    entropies = [m for m in measurements if isinstance(m, Entropy)]
    if entropies:
        yield _entropies(entropies)
    for found in measurements:
        if isinstance(found, Stability):
            yield _stability(found)
        elif isinstance(found, Orders):
            yield _correlations(found)
        elif isinstance(found, Search):
            yield _search(found)


def _entropies(found: Sequence[Entropy]) -> Study:
    curves, rows = [], []
    for entropy in found:
        label = f"{entropy.of_tokens} tokens, {entropy.at}"
        label += f", without the largest {entropy.drop:.1%}" if entropy.drop else ""
        label += f", init {entropy.init}" if entropy.init != "k-means++" else ""
        label += f", alpha {entropy.alpha:g}" if len({e.alpha for e in found}) > 1 else ""
        means = [sum(seeds) / len(seeds) for seeds in entropy.bits]
        points = [
            (i, mean, min(seeds), max(seeds))
            for i, (mean, seeds) in enumerate(zip(means, entropy.bits, strict=True))
        ]
        curves.append(Curve(label, points, "-"))
        order = sorted(range(len(means)), key=lambda i: (means[i], i))
        rows.append(
            (label, str(entropy.clusters), f"{entropy.seed_tau:.2f}", " ".join(map(str, order)))
        )
    text = (
        "Entropy of each block's activations under K-means, in bits: mean and range over seeds. Tau"
        " is the mean rank correlation between the orders of two seeds; the order begins with the"
        " block that would go low first."
    )
    svg = curves_svg(curves, "decoder block", "entropy, bits", whole=True)
    return Study(
        "Entropy by depth",
        text,
        svg,
        ("tokens", "K", "tau between seeds", "order of the blocks"),
        rows,
    )


def _stability(found: Stability) -> Study:
    points = [
        (k, change, change, change) for k, change in zip(found.grid[1:], found.changes, strict=True)
    ]
    taus = [
        (k, (1 - tau) / 2, (1 - tau) / 2, (1 - tau) / 2)
        for k, tau in zip(found.grid, found.seed_tau, strict=True)
    ]
    curves = [
        Curve("from one K to the next", points, "-"),
        Curve("from one seed to another", taus, ":"),
    ]
    chosen = f"K = {found.clusters}" if found.clusters else "no K"
    text = (
        "How much the ranking of the blocks changes (share of pairs in another order, mean over"
        f" {found.seeds} seeds): {chosen} by the rule ({found.rule})."
    )
    return Study(
        "Stability of the ranking over K",
        text,
        curves_svg(curves, "clusters K", "Kendall distance"),
    )


def _correlations(found: Orders) -> Study:
    order = {name: " ".join(map(str, blocks)) for name, blocks in found.orders.items()}
    rows = [
        (name, f"{c.rho:+.2f} [{c.low:+.2f}, {c.high:+.2f}]", order[name])
        for name, c in found.correlations.items()
    ]
    rows.append(("damage", "", order["damage"]))
    rows += [
        (f"{a} and {b}", f"same blocks at k = {', '.join(map(str, ks))}", "")
        for a, b, ks in found.same_sets
        if ks
    ]
    text = (
        "Spearman's rank correlation of each score with measured damage: how much the loss on"
        f" {found.answers} held-out answers rises when only that block is quantized with"
        f" {found.low}. Intervals resample blocks and answers. Where two orders choose the same"
        " blocks they make the same model; pairs that are not listed do so only with no block low"
        " and with all."
    )
    return Study(
        "Scores against measured damage",
        text,
        "",
        ("score", "correlation", "order of the blocks"),
        rows,
    )


def _search(found: Search) -> Study:
    rows = [
        (
            str(a.k),
            f"{a.score:.1f} [{a.low:.1f}, {a.high:.1f}]",
            str(a.questions),
            "yes" if a.holds else "no",
            "interval" if a.decided else "all questions",
        )
        for a in found.asked
    ]
    return Study(
        f"Search for k ({found.method}, {found.rule})",
        found.text,
        "",
        ("k", "score", "questions", "holds", "decided by"),
        rows,
    )
