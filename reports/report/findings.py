"""The paper's claims tested on this store's own results, for every model that was run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reports.paper.numbers import BILLM, GPTQ_4
from reports.report.lines import Line
from reports.report.references import ratio_of
from reports.statistics.mean import paired_difference

DEFAULT_ALPHA = 0.5
NOTHING = 5.0  # per cent below which a mean counts as nothing
Outcome = tuple[str, str]  # what was measured, and the verdict


@dataclass(frozen=True)
class Finding:
    """A claim tested on one model.

    Attributes:
        measured: in words.
        verdict: holds, does not hold, or undecided where the interval says neither.
    """

    model: str
    claim: str
    measured: str
    verdict: str


def findings(lines: Sequence[Line]) -> list[Finding]:
    """Test every claim on every model that has the variants for it.

    LUQ stands for BiLLM and GPTQ-4 with half of the blocks each.
    """
    return [
        Finding(model, claim, *outcome)
        for model in dict.fromkeys(line.model for line in lines)
        for claim, test in _TESTS.items()
        if (outcome := test([line for line in lines if line.model == model])) is not None
    ]


def _luq(
    lines: Sequence[Line], *, order: str = "entropy", alpha: float | None = None
) -> Line | None:
    """LUQ with half of the blocks at each method, at the default alpha if it was run."""
    for line in sorted(lines, key=lambda line: line.alpha != DEFAULT_ALPHA):
        cell = line.cell
        if (
            cell.uses(BILLM, GPTQ_4)
            and (cell.inputs, cell.order) == ("fp", order)
            and cell.blocks
            and 2 * cell.k == len(cell.blocks)
            and alpha in (None, cell.alpha)
        ):
            return line
    return None


def _uniform(
    lines: Sequence[Line], method: str, bits: int, like: Line | None = None
) -> Line | None:
    """One method on all blocks, calibrated like another variant or at the default alpha."""
    for line in sorted(lines, key=lambda line: line.alpha != DEFAULT_ALPHA):
        cell = line.cell
        if (
            cell.uses(None, {"method": method, "bits": bits})
            and cell.inputs == "fp"
            and (like is None or cell.alpha == like.alpha)
        ):
            return line
    return None


def _better(first: Line | None, second: Line | None) -> Outcome | None:
    """Whether the first is better: by perplexity if both have a text, else by the mean."""
    if first is None or second is None:
        return None
    ratio = ratio_of(first, second)
    if ratio is not None:
        name = ratio.statistic.name
        below, above = ratio.high < 1, ratio.low > 1
        verdict = _verdict(*((below, above) if ratio.statistic.lower_is_better else (above, below)))
        return f"{name} {ratio}, {ratio.windows} windows", verdict
    if first.mean is None or second.mean is None:
        return None
    difference = paired_difference(first.by_suite, second.by_suite)
    measured = f"{difference} points, {difference.questions:,} questions"
    return measured, _verdict(difference.low > 0, difference.high < 0)


def _verdict(better: bool, worse: bool) -> str:
    return "holds" if better else "does not hold" if worse else "undecided"


def _order(lines: Sequence[Line]) -> Outcome | None:
    return _better(_luq(lines), _luq(lines, order="depth"))


def _calibration(lines: Sequence[Line]) -> Outcome | None:
    return _better(_luq(lines, alpha=0.5), _luq(lines, alpha=0.0))


def _three_bits(lines: Sequence[Line]) -> Outcome | None:
    luq = _luq(lines)
    return _better(luq, _uniform(lines, "gptq", 3, luq))


def _smaller(lines: Sequence[Line], bits: int) -> Outcome | None:
    luq = _luq(lines)
    other = _uniform(lines, "gptq", bits, luq)
    if luq is None or other is None:
        return None
    paper = 1 - luq.paper_bits / other.paper_bits
    stored = 1 - luq.stored_bytes / other.stored_bytes
    measured = f"{_percent(paper)} by paper bits, {_percent(stored)} by stored bytes"
    if stored > 0:
        return measured, "holds"
    return measured, "holds on paper bits only" if paper > 0 else "does not hold"


def _percent(saved: float) -> str:
    return f"{abs(saved):.1%} {'smaller' if saved > 0 else 'larger'}"


def _collapses(lines: Sequence[Line], method: str) -> Outcome | None:
    line = _uniform(lines, method, 2)
    if line is None or line.mean is None:
        return None
    measured = f"{line.mean.text} [{line.mean.interval}] % on average"
    return measured, "holds" if line.mean.high < NOTHING else "does not hold"


_TESTS: dict[str, Callable[[Sequence[Line]], Outcome | None]] = {
    "LUQ is smaller than GPTQ-4": lambda lines: _smaller(lines, 4),
    "LUQ is smaller than GPTQ-3": lambda lines: _smaller(lines, 3),
    "LUQ is better than GPTQ-3": _three_bits,
    "The entropy order is better than deepest first": _order,
    "Mixed calibration is better than text for LUQ": _calibration,
    "GPTQ at 2 bits scores nothing": lambda lines: _collapses(lines, "gptq"),
    "AWQ at 2 bits scores nothing": lambda lines: _collapses(lines, "awq"),
}
