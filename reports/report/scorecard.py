"""The paper's tables beside ours, cell by cell."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

from reports.report.leaderboard import Line, Score

Mark = Literal["reproduced", "differs", "not run"]
MARKS: tuple[Mark, ...] = ("reproduced", "differs", "not run")
MODELS = {"LLaVA-1.5-7B": "llava15_7b", "Qwen2.5-VL-7B": "qwen25vl_7b"}  # names in conf/model
LOW_BLOCKS = {"LUQ-16": 16, "LUQ-12": 12}
BILLM, GPTQ_4 = {"method": "billm", "variant": "code"}, {"method": "gptq", "bits": 4}
SUITES = {
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


@dataclass(frozen=True)
class Published:
    """A score of the paper, in per cent or MME's points. table: 1 to 3. order: of LUQ's blocks;
    calibration: text or mixed; "" where the paper says nothing.
    """

    source: str
    table: int
    backbone: str
    method: str
    paper_bits: float
    order: str
    calibration: str
    benchmark: str
    score: float
    rounding: float

    @property
    def title(self) -> str:
        bits = f"-{self.paper_bits:g}" if self.method in ("GPTQ", "AWQ") else ""
        return ", ".join(
            word for word in (self.method + bits, self.order, self.calibration) if word
        )


@dataclass(frozen=True)
class Beside:
    """ours: on the same model, variant and suite. reproduced: the published score lies within our
    95 % interval, give or take the last place in which it was printed; differs: outside.
    """

    published: Published
    ours: Score | None
    mark: Mark


@cache
def published() -> tuple[Published, ...]:
    """Every score of the paper's three tables."""
    return tuple(
        Published(
            row["source"],
            int(row["table"]),
            row["backbone"],
            row["method"],
            float(row["paper_bits"]),
            row["order"],
            row["calibration"],
            row["benchmark"],
            float(row["score"]),
            0.05 if "." in row["score"] else 0.5,
        )
        for row in paper_rows("scores.csv")
    )


def paper_rows(name: str) -> list[dict[str, str]]:
    """The rows of a file in reports/paper."""
    with (files("reports.paper") / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def scorecard(lines: Sequence[Line]) -> list[Beside]:
    """The paper's scores in its order, each beside ours."""
    return [_beside(one, lines) for one in published()]


def tally(card: Sequence[Beside]) -> dict[Mark, int]:
    counts = Counter(one.mark for one in card)
    return {mark: counts[mark] for mark in MARKS}


def _beside(one: Published, lines: Sequence[Line]) -> Beside:
    for line in lines:
        if _same_variant(one, line):
            ours = next(
                (
                    s
                    for column, s in line.scores.items()
                    if (column.suite, column.metric) == SUITES[one.benchmark]
                ),
                None,
            )
            if ours is not None:
                within = ours.low - one.rounding <= one.score <= ours.high + one.rounding
                return Beside(one, ours, "reproduced" if within else "differs")
    return Beside(one, None, "not run")


def _same_variant(one: Published, line: Line) -> bool:
    cell = line.cells[0].cell
    if cell.model != MODELS[one.backbone] or cell.inputs != "fp" or cell.budget_bits is not None:
        return False
    if one.method == "FP16":
        return cell.uses(None, None)
    if cell.alpha != (0.0 if one.calibration == "text" else 0.5):
        return False
    if one.method in LOW_BLOCKS:
        return cell.uses(BILLM, GPTQ_4) and (cell.k, cell.order) == (
            LOW_BLOCKS[one.method],
            one.order,
        )
    if one.method == "BiLLM":
        return cell.uses(None, BILLM)
    return cell.uses(None, {"method": one.method.lower(), "bits": one.paper_bits})
