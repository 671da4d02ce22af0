"""What a command needs: disk, memory and time, reckoned from the configuration."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.config.schema import Config
from harness.evaluation.task_files import read_task_file
from harness.paths import TASKS
from harness.variants.quantizers import build
from harness.variants.sizes import ModelSizes, quantized_size, variant_size
from luq.decoder.blocks import needs_calibration
from luq.types import Quantizer
from tasks.mini.suites import QUESTIONS as MINI_QUESTIONS

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
# float64 matrices of a Hessian's size that its factorization holds at once, see
# luq/rounding/error_feedback.py
FACTOR_MATRICES = 2.5
# of a question with its picture and answer, for the cache of keys and values
ANSWER_TOKENS = 1024


@dataclass(frozen=True)
class Needs:
    """Of a whole command for one model.

    Attributes:
        cells: Variants times suites.
        questions: Questions in all cells.
        layers: Blocks to quantize, each once.
        bank: Bytes of disk for quantized blocks.
        statistics: Bytes of disk for statistics, or for residual streams of a streamed model.
        device: Peak bytes on the device while quantizing.
        host: Peak bytes of host memory while quantizing.
        answering: Peak bytes on the device while answering.
        quantizing: Hours of calibration at `plan.teraflops`.
        asking: Hours of answering at `plan.questions_per_second`.
    """

    cells: int
    questions: int
    layers: int
    bank: int
    statistics: int
    device: int
    host: int
    answering: int
    quantizing: float
    asking: float


def needs_of(configs: Sequence[Config], sizes: ModelSizes) -> Needs:
    """What these configurations of one model need together.

    The blocks of one quantizer and one calibration are quantized once and serve every plan.
    """
    first = configs[0]
    streamed, width = first.model.memory == "streamed", BYTES[first.model.dtype]
    entries = {
        (str(quantizer), str(config.calibration)): quantizer
        for config in configs
        for quantizer in _quantizers(config)
    }
    calibrations = {calibration for (_, calibration), q in entries.items() if needs_calibration(q)}
    questions = sum(
        question_count(name, config.limit, config.suite.window)
        for config in configs
        for name in config.suite.tasks
    )
    hessians = 4 * sum(inner * inner for inner in sizes.inputs)
    streams = 2 * first.calibration.tokens * sizes.hidden * width
    rest = width * (sizes.model - (sizes.decoder if streamed else 0))
    return Needs(
        cells=sum(len(config.suite.tasks) for config in configs),
        questions=questions,
        layers=len(entries) * sizes.blocks,
        bank=sum(quantized_size(q, sizes.shapes)[1] * sizes.blocks for q in entries.values()),
        statistics=streams // 2 if streamed else 2 * hessians * sizes.blocks * len(calibrations),
        device=rest + (width * sizes.block if streamed else streams) + _working(sizes, hessians),
        host=streams if streamed else width * sizes.model,
        answering=rest + _answering(configs, sizes, width, streamed=streamed),
        quantizing=_hours_of_calibration(
            first, sizes, len(entries) if streamed else len(calibrations), len(calibrations)
        ),
        asking=questions / first.plan.questions_per_second / 3600,
    )


def _working(sizes: ModelSizes, hessians: int) -> int:
    """Bytes that quantizing a block takes beside model and streams."""
    widest, largest = max(sizes.inputs), max(out * inner for out, inner in sizes.shapes)
    factors = int(8 * FACTOR_MATRICES * widest * widest) + 4 * widest * widest
    return hessians + factors + 3 * 4 * largest


def _answering(configs: Sequence[Config], sizes: ModelSizes, width: int, *, streamed: bool) -> int:
    """Bytes that answering takes beside what of the model is always on the device."""
    first, largest = configs[0], max(out * inner for out, inner in sizes.shapes)
    batch = first.suite.batch_size or first.batch_size
    cache = batch * ANSWER_TOKENS * sizes.key_values * width
    packed = (variant_size(one, sizes).decoder for one in configs if any(_quantizers(one)))
    live = max(packed, default=width * sizes.block) if streamed else 0
    return live + cache + largest * (4 + width)


def _hours_of_calibration(
    config: Config, sizes: ModelSizes, passes: int, calibrations: int
) -> float:
    squares = sum(inner * inner for inner in sizes.inputs)
    per_pass = config.calibration.tokens * (2 * sizes.decoder + 2 * sizes.blocks * squares)
    factors = 3 * sizes.blocks * sum(inner**3 for inner in sizes.inputs)
    operations = passes * per_pass + calibrations * factors
    return operations / (config.plan.teraflops * 1e12) / 3600


def _quantizers(config: Config) -> Iterable[Quantizer]:
    method = config.method
    parts = (method.low if method.k else None, method.high, *method.candidates)
    return (q for options in parts if (q := build(options, "method")) is not None)


def question_count(task: str, limit: int | None, window: int) -> int:
    """Questions, or windows of a text, that a task has or that a limit leaves.

    Groups that stay whole may add a few.
    """
    meta = _metadata().get(task, {})
    count = meta["tokens"] // window if "tokens" in meta else meta.get("questions", MINI_QUESTIONS)
    return int(count if limit is None else min(limit, count))


@functools.cache
def _metadata() -> Mapping[str, dict[str, Any]]:
    """What the task files say under `metadata`, by task."""
    files = (read_task_file(path) for path in TASKS.glob("*/*.yaml"))
    return {config["task"]: config.get("metadata") or {} for config in files}
