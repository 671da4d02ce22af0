"""The paper's own numbers (Layerwise Ultra-Low-Bit Quantization, TMLR 2026), each stated once.

scores.csv has every score of tables 1 to 3, claims.csv the claims that text and tables make, and
deployment.csv the measurements of the appendix on deployment.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

# LUQ's two methods, as cells record quantizers, and their bits a weight as the paper counts them.
BILLM, GPTQ_4 = {"method": "billm", "variant": "code"}, {"method": "gptq", "bits": 4}
LOW_BITS, HIGH_BITS = 1.08, 4.0


@dataclass(frozen=True)
class Backbone:
    """A model of the paper, and what it says of LUQ on it.

    Attributes:
        name: in the paper's tables.
        repository: on the Hugging Face hub.
        config: in conf/model.
        blocks: decoder blocks.
        k: how many of them get the low-bit method.
        average_bits: a weight, as stated.
        saving: of memory compared with 4 bits, as stated, 0 to 1.
    """

    name: str
    repository: str
    config: str
    blocks: int
    k: int
    average_bits: float
    saving: float

    @property
    def luq(self) -> str:
        """LUQ on this model in the paper's tables."""
        return f"LUQ-{self.k}"

    def mean_bits(self, low: float = LOW_BITS, high: float = HIGH_BITS) -> float:
        """Bits a weight of LUQ with methods of so many; all blocks are of one size."""
        return (self.k * low + (self.blocks - self.k) * high) / self.blocks


LLAVA = Backbone("LLaVA-1.5-7B", "llava-hf/llava-1.5-7b-hf", "llava15_7b", 32, 16, 2.54, 0.40)
QWEN = Backbone("Qwen2.5-VL-7B", "Qwen/Qwen2.5-VL-7B-Instruct", "qwen25vl_7b", 28, 12, 2.75, 0.31)
BACKBONES = (LLAVA, QWEN)


@dataclass(frozen=True)
class Published:
    """A score of the paper's tables.

    Attributes:
        source: where it is printed.
        table: 1 to 3.
        order: of LUQ's blocks, "" where the paper says nothing.
        calibration: text or mixed, "" where the paper says nothing.
        score: in per cent, or MME's points.
        rounding: half of the last printed place.
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
        """The variant as the tables call it."""
        bits = f"-{self.paper_bits:g}" if self.method in ("GPTQ", "AWQ") else ""
        parts = (self.method + bits, self.order, self.calibration)
        return ", ".join(part for part in parts if part)


@cache
def published() -> tuple[Published, ...]:
    """Every score of the paper's three tables, in its order."""
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
    """The rows of a CSV file of this folder."""
    with (files("reports.paper") / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))
