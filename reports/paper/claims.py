"""The paper's claims, recomputed from its own configurations and tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from reports.paper.numbers import HIGH_BITS, LLAVA, QWEN, Backbone, paper_rows, published

# Bits a weight that really are stored: BiLLM, and GPTQ with groups of 128, scale and zero point.
STORED_LOW, STORED_HIGH, STORED_THREE = 3.0, 4 + 20 / 128, 3 + 19 / 128
ALWAYS_YES = 100 * 2 / 3  # F1 of saying "yes" to everything where half of the answers are "yes"
SAME_AS_PRINTED = 0.005  # largest difference that the paper's rounding explains
# llama.cpp's formats IQ1_M, Q4_K_M, Q4_K and Q6_K, bits a weight.
IQ1_M, Q4_K_M, Q4_K, Q6_K = 1.75, 4.84, 4.5, 6.5625
QWEN_BLOCK = 233_046_016  # weights of the linears of one decoder block of Qwen2.5-7B
QWEN_EMBEDDING = 152_064 * 3_584  # weights of its embedding, and of its head


@dataclass(frozen=True)
class Claim:
    """A claim of the paper and what comes out of its own numbers.

    Attributes:
        paper_value: as stated.
        paper_bits: recomputed by the bits that papers count, or from the paper's tables.
        stored: recomputed by stored bytes.
        verdict: in a few words.
    """

    claim: str
    paper_value: str
    source: str
    paper_bits: str
    stored: str
    verdict: str


Recomputed = tuple[str, str, str]  # paper_bits, stored, verdict


def claims() -> list[Claim]:
    """All claims in the order of claims.csv."""
    return [
        Claim(row["claim"], row["paper_value"], row["source"], *_RECOMPUTED[row["name"]]())
        for row in paper_rows("claims.csv")
    ]


def _stored_bits(backbone: Backbone) -> float:
    return backbone.mean_bits(STORED_LOW, STORED_HIGH)


def _average(backbone: Backbone) -> Recomputed:
    bits = backbone.mean_bits()
    same = abs(bits - backbone.average_bits) < SAME_AS_PRINTED
    verdict = "holds on paper bits only" if same else "does not hold"
    return f"{bits:.3f}", f"{_stored_bits(backbone):.3f}", verdict


def _saving(backbone: Backbone) -> Recomputed:
    paper = 1 - backbone.mean_bits() / HIGH_BITS
    stored = 1 - _stored_bits(backbone) / STORED_HIGH
    same = abs(paper - backbone.saving) < SAME_AS_PRINTED
    verdict = "holds on paper bits only" if same else "overstated"
    return f"{paper:.1%}", f"{stored:.1%}", verdict


def _smaller_than_three_bits() -> Recomputed:
    paper, stored = 1 - QWEN.mean_bits() / 3, _stored_bits(QWEN) / STORED_THREE - 1
    return f"{paper:.1%} smaller", f"{stored:.0%} larger", "holds on paper bits only"


def _score(
    backbone: Backbone,
    method: str,
    benchmark: str,
    *,
    table: int = 1,
    calibration: str = "",
) -> float:
    """A published score; methods are called as in "GPTQ-4"."""
    name, _, bits = method.partition("-") if method[:4] in ("GPTQ", "AWQ-") else (method, "", "")
    return next(
        one.score
        for one in published()
        if (one.backbone, one.method, one.benchmark, one.table)
        == (backbone.name, name, benchmark, table)
        and (not bits or one.paper_bits == float(bits))
        and one.calibration == calibration
    )


MME = ("MME_Perception", "MME_Cognition")


def _mme() -> Recomputed:
    losses = {}
    for backbone in (LLAVA, QWEN):
        full = [_score(backbone, "FP16", part) for part in MME]
        luq = [_score(backbone, backbone.luq, part) for part in MME]
        losses[backbone.name] = [
            1 - luq[0] / full[0],
            1 - luq[1] / full[1],
            1 - sum(luq) / sum(full),
        ]
    recomputed = "; ".join(
        f"{name} {perception:.1%} perception, {cognition:.1%} cognition, {both:.1%} together"
        for name, (perception, cognition, both) in losses.items()
    )
    if all(loss < 0.1 for three in losses.values() for loss in three):
        return recomputed, "", "holds"
    perception_only = all(three[0] < 0.1 for three in losses.values())
    return recomputed, "", "holds for perception only" if perception_only else "does not hold"


def _points_to_four_bits() -> Recomputed:
    losses = [
        _score(LLAVA, "GPTQ-4", name) - _score(LLAVA, LLAVA.luq, name)
        for name in ("TextVQA", "VQAv2", "GQA")
    ]
    other = _score(LLAVA, "GPTQ-4", "VQAv2", table=3, calibration="mixed") - _score(
        LLAVA, LLAVA.luq, "VQAv2", table=3, calibration="mixed"
    )
    recomputed = (
        f"{losses[0]:.1f} / {losses[1]:.1f} (table 3: {other:.1f}) / {losses[2]:.1f} points"
    )
    return recomputed, "", "percentage points, from two tables"


def _mme_to_four_bits() -> Recomputed:
    losses = [1 - _score(LLAVA, LLAVA.luq, part) / _score(LLAVA, "GPTQ-4", part) for part in MME]
    return f"{losses[0]:.2%} / {losses[1]:.1%}", "", "holds, as relative per cent"


def _qwen_loss() -> Recomputed:
    losses = [
        _score(QWEN, "FP16", name) - _score(QWEN, QWEN.luq, name) for name in ("DocVQA", "POPE")
    ]
    share = losses[0] / _score(QWEN, "FP16", "DocVQA")
    recomputed = f"{losses[0]:.1f} points ({share:.1%}) / {losses[1]:.1f} points"
    return recomputed, "", "to full precision, not to 4 bits"


def _beats_three_bits(backbone: Backbone) -> Recomputed:
    luq = {
        one.benchmark: one.score
        for one in published()
        if (one.backbone, one.method, one.table) == (backbone.name, backbone.luq, 1)
    }
    behind = [
        f"{name} {score:g} < {other:g}"
        for name, score in luq.items()
        if score < (other := _score(backbone, "GPTQ-3", name))
    ]
    return (
        f"behind on {len(behind)} of {len(luq)}: {', '.join(behind)}",
        f"at {_stored_bits(backbone) / STORED_THREE - 1:.0%} more bytes",
        "does not hold" if behind else "holds",
    )


def _mixed_calibration() -> Recomputed:
    mixed, text = (
        _score(LLAVA, LLAVA.luq, "TextVQA", table=3, calibration=name) for name in ("mixed", "text")
    )
    verdict = "inconsistent with table 3" if mixed - text < 3.5 else "holds"
    return f"table 3: {mixed:g} − {text:g} = {mixed - text:.1f} points", "", verdict


def _two_tables(method: str, benchmark: str) -> Recomputed:
    first = _score(LLAVA, method, benchmark)
    text, mixed = (
        _score(LLAVA, method, benchmark, table=3, calibration=name) for name in ("text", "mixed")
    )
    recomputed = f"table 1: {first:g}; table 3: {text:g} (text), {mixed:g} (mixed)"
    if first not in (text, mixed):
        return recomputed, "", "inconsistent"
    if text == mixed:
        return recomputed, "", "consistent"
    calibration = "text" if first == text else "mixed"
    return recomputed, "", f"table 1 has the {calibration} calibration"


def _pope() -> Recomputed:
    score = _score(QWEN, "BiLLM", "POPE")
    verdict = "next to nothing" if score - ALWAYS_YES < 5 else "holds"
    return f"{score:g}; saying yes to everything gets {ALWAYS_YES:.1f}", "", verdict


def _deployed() -> Recomputed:
    decoder = QWEN_BLOCK * (QWEN.k * IQ1_M + (QWEN.blocks - QWEN.k) * Q4_K_M) / 8
    size = decoder + QWEN_EMBEDDING * (Q4_K + Q6_K) / 8
    weights = QWEN.blocks * QWEN_BLOCK
    return (
        f"{8 * decoder / weights:.2f} in the decoder",
        f"{size / 1e9:.2f} GB = {size / 2**30:.2f} GiB:"
        f" {8 * size / (weights + 2 * QWEN_EMBEDDING):.2f} with embeddings",
        "does not hold: other formats than in the tables",
    )


_RECOMPUTED: dict[str, Callable[[], Recomputed]] = {
    "llava_bits": lambda: _average(LLAVA),
    "qwen_bits": lambda: _average(QWEN),
    "llava_saving": lambda: _saving(LLAVA),
    "qwen_saving": lambda: _saving(QWEN),
    "smaller_than_gptq3": _smaller_than_three_bits,
    "mme_degradation": _mme,
    "llava_points_to_gptq4": _points_to_four_bits,
    "llava_mme_to_gptq4": _mme_to_four_bits,
    "qwen_drop": _qwen_loss,
    "beats_gptq3_qwen": lambda: _beats_three_bits(QWEN),
    "beats_gptq3_llava": lambda: (
        *_beats_three_bits(LLAVA)[:2],
        "a note: not smaller, not better everywhere",
    ),
    "mixed_textvqa": _mixed_calibration,
    "gptq4_vqav2": lambda: _two_tables("GPTQ-4", "VQAv2"),
    "awq4_vqav2": lambda: _two_tables("AWQ-4", "VQAv2"),
    "awq4_textvqa": lambda: _two_tables("AWQ-4", "TextVQA"),
    "billm_pope": _pope,
    "deployed_size": _deployed,
}
