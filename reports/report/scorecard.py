"""The paper's tables compared with this store, score by score."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from reports.paper.numbers import BACKBONES, BILLM, GPTQ_4, Published, published
from reports.report.lines import Line, Score

Mark = Literal["reproduced", "differs", "not run"]
MARKS: tuple[Mark, ...] = ("reproduced", "differs", "not run")
SUITES = {  # (suite, metric) of the paper's benchmarks
    "MME_Perception": ("paper_mme", "mme_perception_score"),
    "MME_Cognition": ("paper_mme", "mme_cognition_score"),
    "MMBench": ("paper_mmbench", "circular_accuracy"),
    "TextVQA": ("paper_textvqa", "exact_match"),
    "VQAv2": ("paper_vqav2", "exact_match"),
    "GQA": ("paper_gqa", "exact_match"),
    "POPE": ("paper_pope", "pope_mean_f1"),
    "ChartQA": ("paper_chartqa", "relaxed_human_split"),
    "DocVQA": ("paper_docvqa", "anls"),
    "MathVista": ("paper_mathvista", "accuracy_rule_based"),
}
_BACKBONES = {backbone.name: backbone for backbone in BACKBONES}
_LOW_BLOCKS = {backbone.luq: backbone.k for backbone in BACKBONES}


@dataclass(frozen=True)
class Entry:
    """A published score and ours on the same model, variant and suite.

    Attributes:
        ours: None where it was not run.
        mark: reproduced where the published score lies within our 95 % interval, give or take half
            of its last printed place; differs where it lies outside.
    """

    published: Published
    ours: Score | None
    mark: Mark


def scorecard(lines: Sequence[Line]) -> list[Entry]:
    """All scores of the paper in its order, each with ours."""
    return [_entry(one, lines) for one in published()]


def tally(card: Sequence[Entry]) -> dict[Mark, int]:
    """How many entries have each mark."""
    counts = Counter(entry.mark for entry in card)
    return {mark: counts[mark] for mark in MARKS}


def _entry(one: Published, lines: Sequence[Line]) -> Entry:
    for line in lines:
        if not _same_variant(one, line):
            continue
        for column, ours in line.scores.items():
            if (column.suite, column.metric) == SUITES[one.benchmark]:
                within = ours.low - one.rounding <= one.score <= ours.high + one.rounding
                return Entry(one, ours, "reproduced" if within else "differs")
    return Entry(one, None, "not run")


def _same_variant(one: Published, line: Line) -> bool:
    cell = line.cell
    if cell.model != _BACKBONES[one.backbone].config:
        return False
    if cell.inputs != "fp" or cell.budget_bits is not None:
        return False
    if one.method == "FP16":
        return cell.uses(None, None)
    if cell.alpha != (0.0 if one.calibration == "text" else 0.5):
        return False
    if one.method in _LOW_BLOCKS:
        expected = (_LOW_BLOCKS[one.method], one.order)
        return cell.uses(BILLM, GPTQ_4) and (cell.k, cell.order) == expected
    if one.method == "BiLLM":
        return cell.uses(None, BILLM)
    return cell.uses(None, {"method": one.method.lower(), "bits": one.paper_bits})
