"""The paper's claims, recomputed from its configurations and its own tables, and asked of what a
store holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reports.report.leaderboard import Line
from reports.report.references import ratio_of, results_of
from reports.report.scorecard import BILLM, GPTQ_4, paper_rows, published
from reports.statistics.mean import paired_difference

LLAVA, QWEN = "LLaVA-1.5-7B", "Qwen2.5-VL-7B"
BLOCKS = {LLAVA: (32, 16), QWEN: (28, 12)}  # decoder blocks, of which LUQ takes so many low
PAPER_LOW, PAPER_HIGH = 1.08, 4.0
STORED_LOW, STORED_HIGH, STORED_THREE = (
    3.0,
    4 + 20 / 128,
    3 + 19 / 128,
)  # BiLLM; GPTQ with groups of 128, scale and zero point
USUAL_ALPHA = 0.5
ALWAYS_YES = 100 * 2 / 3  # F1 of saying "yes" to everything where half of the answers are "yes"


@dataclass(frozen=True)
class Claim:
    """paper_bits, stored: what comes out by the bits that papers count (or by the paper's own
    tables) and by stored bytes. verdict: in a few words.
    """

    claim: str
    paper_value: str
    source: str
    paper_bits: str
    stored: str
    verdict: str


@dataclass(frozen=True)
class Finding:
    """A claim asked of one model of the store. verdict: holds, does not hold, or undecided where
    the interval says neither.
    """

    model: str
    claim: str
    ours: str
    verdict: str


def claims() -> list[Claim]:
    """In the order of reports/paper/claims.csv."""
    return [
        Claim(row["claim"], row["paper_value"], row["source"], *_RECOMPUTED[row["name"]]())
        for row in paper_rows("claims.csv")
    ]


Recomputed = tuple[str, str, str]


def _bits(backbone: str, low: float = PAPER_LOW, high: float = PAPER_HIGH) -> float:
    """Mean over blocks, which are of one size."""
    blocks, k = BLOCKS[backbone]
    return (k * low + (blocks - k) * high) / blocks


def _stored(backbone: str) -> float:
    return _bits(backbone, STORED_LOW, STORED_HIGH)


def _average(backbone: str, said: float) -> Recomputed:
    bits = _bits(backbone)
    return (
        f"{bits:.3f}",
        f"{_stored(backbone):.3f}",
        "holds on paper bits only" if abs(bits - said) < 0.005 else "does not hold",
    )


def _saving(backbone: str, said: float) -> Recomputed:
    paper, stored = 1 - _bits(backbone) / PAPER_HIGH, 1 - _stored(backbone) / STORED_HIGH
    return (
        f"{paper:.1%}",
        f"{stored:.1%}",
        "holds on paper bits only" if abs(paper - said) < 0.005 else "overstated",
    )


def _smaller() -> Recomputed:
    paper, stored = 1 - _bits(QWEN) / 3, _stored(QWEN) / STORED_THREE - 1
    return f"{paper:.1%} smaller", f"{stored:.0%} larger", "holds on paper bits only"


def _score(
    backbone: str,
    method: str,
    benchmark: str,
    *,
    table: int = 1,
    calibration: str = "",
    order: str = "",
) -> float:
    name, _, bits = method.partition("-") if method[:4] in ("GPTQ", "AWQ-") else (method, "", "")
    return next(
        one.score
        for one in published()
        if (one.backbone, one.method, one.benchmark, one.table)
        == (backbone, name, benchmark, table)
        and (not bits or one.paper_bits == float(bits))
        and one.calibration == calibration
        and (not order or one.order == order)
    )


def _mme() -> Recomputed:
    falls = {}
    for backbone, luq in ((LLAVA, "LUQ-16"), (QWEN, "LUQ-12")):
        whole = [_score(backbone, "FP16", f"MME_{part}") for part in ("Perception", "Cognition")]
        mine = [_score(backbone, luq, f"MME_{part}") for part in ("Perception", "Cognition")]
        falls[backbone] = [
            1 - mine[0] / whole[0],
            1 - mine[1] / whole[1],
            1 - sum(mine) / sum(whole),
        ]
    told = "; ".join(
        f"{name} {p:.1%} perception, {c:.1%} cognition, {both:.1%} together"
        for name, (p, c, both) in falls.items()
    )
    every = all(fall < 0.1 for three in falls.values() for fall in three)
    return (
        told,
        "",
        (
            "holds"
            if every
            else (
                "holds for perception only"
                if all(f[0] < 0.1 for f in falls.values())
                else "does not hold"
            )
        ),
    )


def _points_to_gptq4() -> Recomputed:
    drops = [
        _score(LLAVA, "GPTQ-4", name) - _score(LLAVA, "LUQ-16", name)
        for name in ("TextVQA", "VQAv2", "GQA")
    ]
    other = _score(LLAVA, "GPTQ-4", "VQAv2", table=3, calibration="mixed") - _score(
        LLAVA, "LUQ-16", "VQAv2", table=3, calibration="mixed"
    )
    told = f"{drops[0]:.1f} / {drops[1]:.1f} (table 3: {other:.1f}) / {drops[2]:.1f} points"
    return told, "", "percentage points, from two tables"


def _mme_to_gptq4() -> Recomputed:
    parts = [
        1 - _score(LLAVA, "LUQ-16", f"MME_{part}") / _score(LLAVA, "GPTQ-4", f"MME_{part}")
        for part in ("Perception", "Cognition")
    ]
    return f"{parts[0]:.2%} / {parts[1]:.1%}", "", "holds, as relative per cent"


def _qwen_drop() -> Recomputed:
    drops = [
        _score(QWEN, "FP16", name) - _score(QWEN, "LUQ-12", name) for name in ("DocVQA", "POPE")
    ]
    share = drops[0] / _score(QWEN, "FP16", "DocVQA")
    return (
        f"{drops[0]:.1f} points ({share:.1%}) / {drops[1]:.1f} points",
        "",
        "to full precision, not to 4 bits",
    )


def _beats_three(backbone: str, luq: str) -> Recomputed:
    mine = {
        one.benchmark: one.score
        for one in published()
        if (one.backbone, one.method, one.table) == (backbone, luq, 1)
    }
    behind = [
        f"{name} {score:g} < {other:g}"
        for name, score in mine.items()
        if score < (other := _score(backbone, "GPTQ-3", name))
    ]
    larger = f"at {_stored(backbone) / STORED_THREE - 1:.0%} more bytes"
    return (
        f"behind on {len(behind)} of {len(mine)}: {', '.join(behind)}",
        larger,
        "does not hold" if behind else "holds",
    )


def _mixed() -> Recomputed:
    mixed, text = (
        _score(LLAVA, "LUQ-16", "TextVQA", table=3, calibration=name) for name in ("mixed", "text")
    )
    return (
        f"table 3: {mixed:g} − {text:g} = {mixed - text:.1f} points",
        "",
        "inconsistent with table 3" if mixed - text < 3.5 else "holds",
    )


def _two_tables(method: str, benchmark: str) -> Recomputed:
    first = _score(LLAVA, method, benchmark)
    second = [
        _score(LLAVA, method, benchmark, table=3, calibration=name) for name in ("text", "mixed")
    ]
    told = f"table 1: {first:g}; table 3: {second[0]:g} (text), {second[1]:g} (mixed)"
    if first not in second:
        return told, "", "inconsistent"
    return (
        told,
        "",
        (
            "consistent"
            if second[0] == second[1]
            else f"table 1 has the {'text' if first == second[0] else 'mixed'} calibration"
        ),
    )


def _pope() -> Recomputed:
    score = _score(QWEN, "BiLLM", "POPE")
    return (
        f"{score:g}; saying yes to everything gets {ALWAYS_YES:.1f}",
        "",
        "next to nothing" if score - ALWAYS_YES < 5 else "holds",
    )


def _deployed() -> Recomputed:
    """llama.cpp's formats: IQ1_M 1.75, Q4_K_M 4.84, Q4_K 4.5, Q6_K 6.5625 bits a weight."""
    block, vocabulary = (
        233_046_016,
        152_064 * 3_584,
    )  # weights of Qwen2.5-7B: a block's linears; an embedding
    (blocks, k), bits = BLOCKS[QWEN], (1.75, 4.84, 4.5, 6.5625)
    decoder = block * (k * bits[0] + (blocks - k) * bits[1]) / 8
    size = decoder + vocabulary * (bits[2] + bits[3]) / 8
    stored = (
        f"{size / 1e9:.2f} GB = {size / 2**30:.2f} GiB:"
        f" {8 * size / (blocks * block + 2 * vocabulary):.2f} with embeddings"
    )
    return (
        f"{8 * decoder / (blocks * block):.2f} in the decoder",
        stored,
        "does not hold: other formats than in the tables",
    )


_RECOMPUTED: dict[str, Callable[[], Recomputed]] = {
    "llava_bits": lambda: _average(LLAVA, 2.54),
    "qwen_bits": lambda: _average(QWEN, 2.75),
    "llava_saving": lambda: _saving(LLAVA, 0.40),
    "qwen_saving": lambda: _saving(QWEN, 0.315),
    "smaller_than_gptq3": _smaller,
    "mme_degradation": _mme,
    "llava_points_to_gptq4": _points_to_gptq4,
    "llava_mme_to_gptq4": _mme_to_gptq4,
    "qwen_drop": _qwen_drop,
    "beats_gptq3_qwen": lambda: _beats_three(QWEN, "LUQ-12"),
    "beats_gptq3_llava": lambda: (
        *_beats_three(LLAVA, "LUQ-16")[:2],
        "a note: not smaller, not better everywhere",
    ),
    "mixed_textvqa": _mixed,
    "gptq4_vqav2": lambda: _two_tables("GPTQ-4", "VQAv2"),
    "awq4_vqav2": lambda: _two_tables("AWQ-4", "VQAv2"),
    "awq4_textvqa": lambda: _two_tables("AWQ-4", "TextVQA"),
    "billm_pope": _pope,
    "deployed_size": _deployed,
}


def findings(lines: Sequence[Line]) -> list[Finding]:
    """What the store's models say of the claims that can be asked of any model, at LUQ with half of
    the blocks low.
    """
    return [
        Finding(model, claim, *found)
        for model in dict.fromkeys(line.model for line in lines)
        for claim, ask in _ASKED.items()
        if (found := ask([line for line in lines if line.model == model])) is not None
    ]


def _luq(
    lines: Sequence[Line], *, order: str = "entropy", alpha: float | None = None
) -> Line | None:
    """LUQ of BiLLM and GPTQ-4 with half of the blocks low."""
    for line in sorted(lines, key=lambda line: line.alpha != USUAL_ALPHA):
        cell = line.cells[0].cell
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
    for line in sorted(lines, key=lambda line: line.alpha != USUAL_ALPHA):
        cell = line.cells[0].cell
        if (
            cell.uses(None, {"method": method, "bits": bits})
            and cell.inputs == "fp"
            and (like is None or cell.alpha == like.alpha)
        ):
            return line
    return None


def _compared(first: Line | None, second: Line | None) -> tuple[str, str] | None:
    """First minus second, and whether first is better."""
    if first is None or second is None:
        return None
    ratio = ratio_of(first, second)
    if ratio is not None:
        verdict = "holds" if ratio.high < 1 else "does not hold" if ratio.low > 1 else "undecided"
        return f"perplexity {ratio}, {ratio.windows} windows", verdict
    if first.mean is None or second.mean is None:
        return None
    found = paired_difference(results_of(first), results_of(second))
    verdict = "holds" if found.low > 0 else "does not hold" if found.high < 0 else "undecided"
    return f"{found} points, {found.questions:,} questions", verdict


def _order(lines: Sequence[Line]) -> tuple[str, str] | None:
    return _compared(_luq(lines), _luq(lines, order="depth"))


def _calibration(lines: Sequence[Line]) -> tuple[str, str] | None:
    return _compared(_luq(lines, alpha=0.5), _luq(lines, alpha=0.0))


def _three_bits(lines: Sequence[Line]) -> tuple[str, str] | None:
    luq = _luq(lines)
    return _compared(luq, _uniform(lines, "gptq", 3, luq))


def _size(lines: Sequence[Line], bits: int) -> tuple[str, str] | None:
    luq = _luq(lines)
    other = _uniform(lines, "gptq", bits, luq)
    if luq is None or other is None:
        return None
    paper, stored = (
        1 - luq.paper_bits / other.paper_bits,
        1 - luq.stored_bytes / other.stored_bytes,
    )
    told = f"{_percent(paper)} by paper bits, {_percent(stored)} by stored bytes"
    return told, (
        "holds" if stored > 0 else "holds on paper bits only" if paper > 0 else "does not hold"
    )


def _percent(saved: float) -> str:
    return f"{abs(saved):.1%} {'smaller' if saved > 0 else 'larger'}"


def _collapse(lines: Sequence[Line], method: str) -> tuple[str, str] | None:
    line = _uniform(lines, method, 2)
    if line is None or line.mean is None:
        return None
    mean = line.mean
    return f"{mean.text} [{mean.interval}] % on average", (
        "holds" if mean.high < 5 else "does not hold"
    )


_ASKED: dict[str, Callable[[Sequence[Line]], tuple[str, str] | None]] = {
    "LUQ is smaller than GPTQ-4": lambda lines: _size(lines, 4),
    "LUQ is smaller than GPTQ-3": lambda lines: _size(lines, 3),
    "LUQ is better than GPTQ-3": _three_bits,
    "The entropy order is better than deepest first": _order,
    "Mixed calibration is better than text for LUQ": _calibration,
    "GPTQ at 2 bits scores nothing": lambda lines: _collapse(lines, "gptq"),
    "AWQ at 2 bits scores nothing": lambda lines: _collapse(lines, "awq"),
}
