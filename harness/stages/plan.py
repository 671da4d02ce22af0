"""The stage `plan`: what a command would store, need and cost, from the configuration alone.

No weights are read.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from harness.config.schema import Config
from harness.errors import ConfigError
from harness.evaluation.task_files import read_task_file
from harness.models.load import empty_model
from harness.paths import TASKS
from harness.progress import Progress
from harness.stages.base import Job, Outcome, each_k
from harness.stages.cells import order_name
from harness.variants.quantizers import build
from luq.decoder.blocks import needs_calibration
from luq.decoder.families import decoder_blocks, find_family
from luq.types import LayerStats, Quantizer, stored_bytes
from reports.report.leaderboard import bytes_text
from tasks.mini.suites import QUESTIONS as MINI_QUESTIONS

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
SAMPLE_ROWS = (64, 128)
SAMPLE_COLUMNS = (512, 1024)
MEASURED_COLUMNS = 2048  # layers with no more inputs than this are sampled at their own width
# float64 matrices of a Hessian's size that its factorization holds at once, see
# luq/quantizers/column_sweep.py
FACTOR_MATRICES = 2.5
ANSWER_TOKENS = 1024  # of a question with its picture and answer, for the cache of keys and values
PAPER_LOW, PAPER_HIGH = 1.08, 4.0
# The paper's own sizes (LUQ, TMLR 2026, tables 1 and 2): blocks low, average bits, claimed saving
# against 4 bits.
PAPER = {
    "llava-hf/llava-1.5-7b-hf": (16, 2.54, 0.40),
    "Qwen/Qwen2.5-VL-7B-Instruct": (12, 2.75, 0.31),
}
LUQ = ({"method": "billm"}, {"method": "gptq", "bits": 4})
HEAD = ("variant", "paper bits", "stored bits", "decoder", "language model", "whole model")
Shapes = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Sizes:
    """shapes:

    (out, in) of the linears of one block; inputs: width of each input that they share. decoder:
    weights of all blocks' linears; text, model: parameters of the language model and of everything.
    key_values: numbers that the cache holds for one token.
    """

    blocks: int
    shapes: Shapes
    inputs: tuple[int, ...]
    hidden: int
    decoder: int
    text: int
    model: int
    key_values: int

    @property
    def block(self) -> int:
        return self.decoder // self.blocks


@functools.lru_cache(maxsize=4)
def sizes_of(path: str, revision: str | None) -> Sizes:
    """Raises ConfigError where no configuration can be had and QuantizationError for an unknown
    architecture.
    """
    model = empty_model(path, revision)
    family = find_family(model)
    blocks = decoder_blocks(model, family)
    linears: list[Any] = [blocks[0].get_submodule(name) for name in family.linears]
    shapes = tuple((linear.out_features, linear.in_features) for linear in linears)
    shared: list[Any] = [blocks[0].get_submodule(group[0]) for group in family.shared_inputs]
    text = {
        id(p): p.numel()
        for module in (model.get_submodule(family.text), model.get_output_embeddings())
        for p in module.parameters()
    }
    config = model.config.get_text_config()
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return Sizes(
        len(blocks),
        shapes,
        tuple(linear.in_features for linear in shared),
        config.hidden_size,
        len(blocks) * sum(out * inner for out, inner in shapes),
        sum(text.values()),
        sum(p.numel() for p in model.parameters()),
        2 * len(blocks) * config.num_key_value_heads * head,
    )


@functools.cache
def quantized_size(quantizer: Quantizer, shapes: Shapes) -> tuple[float, int]:
    """(paper bits per weight, bytes) of one block's linears, from what the quantizer really packs.

    Wide layers are extrapolated from four small random ones: bytes are a sum of parts that grow
    with rows, with columns, with both, or not at all. Where the packed size depends on the weights
    (PB-LLM, SAGE) it is an estimate for Gaussian ones.
    """
    bits = size = 0.0
    for out, inner in shapes:
        columns = (inner,) if inner <= MEASURED_COLUMNS else SAMPLE_COLUMNS
        found = {(n, m): _packed(quantizer, n, m) for n in SAMPLE_ROWS for m in columns}
        low, high = SAMPLE_ROWS
        at_low, at_high = (
            _line(columns, [found[n, m][1] for m in columns], inner) for n in (low, high)
        )
        size += at_low + (at_high - at_low) * (out - low) / (high - low)
        bits += out * inner * found[high, columns[-1]][0]
    return bits / sum(out * inner for out, inner in shapes), round(size)


def _line(places: Sequence[int], values: Sequence[float], at: int) -> float:
    """The value at `at` of the line through two points; one point alone is at `at`."""
    if len(places) == 1:
        return values[0]
    return values[0] + (values[1] - values[0]) * (at - places[0]) / (places[1] - places[0])


@functools.cache
def _packed(quantizer: Quantizer, out: int, inner: int) -> tuple[float, int]:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(out, inner, generator=generator) * 0.02
    packed = quantizer(weight, LayerStats(torch.eye(inner), 10 * inner))
    return packed.paper_bits, stored_bytes(packed)


@dataclass(frozen=True)
class Variant:
    """One variant of a model. decoder: bytes of its linears as packed; text, model: with the rest
    at 16 bits.
    """

    label: str
    paper_bits: float
    stored_bits: float
    decoder: int
    text: int
    model: int


def variant_of(config: Config, sizes: Sizes) -> Variant:
    method, k = config.method, int(config.method.k)
    if k > sizes.blocks:
        raise ConfigError(
            f"method.k is {k}, {config.model.name} has {sizes.blocks} decoder blocks: choose 0 to"
            f" {sizes.blocks}"
        )
    if method.candidates:
        assert method.budget_bits is not None, "the configuration was checked"
        stored = int(method.budget_bits * sizes.decoder / 8)
        return _variant(config, sizes, float("nan"), stored)
    low, high = build(method.low, "method.low"), build(method.high, "method.high")
    parts = [(k, low), (sizes.blocks - k, high)]
    bits = decoder = 0.0
    for count, quantizer in parts:
        if count:
            paper, size = (
                (16.0, 2 * sizes.block)
                if quantizer is None
                else quantized_size(quantizer, sizes.shapes)
            )
            bits, decoder = bits + count * paper, decoder + count * size
    return _variant(config, sizes, bits / sizes.blocks, round(decoder))


def _variant(config: Config, sizes: Sizes, paper_bits: float, decoder: int) -> Variant:
    method, rest = config.method, 2 * (sizes.text - sizes.decoder)
    order = order_name(config) if method.k or method.candidates else ""
    label = " ".join(
        part
        for part in (
            method.name,
            f"k={method.k}" if method.k else "",
            order.removeprefix("entropy").strip(),
        )
        if part
    )
    return Variant(
        label,
        paper_bits,
        8 * decoder / sizes.decoder,
        decoder,
        decoder + rest,
        decoder + rest + 2 * (sizes.model - sizes.text),
    )


@dataclass(frozen=True)
class Needs:
    """Of a whole command for one model, in bytes unless said otherwise. device, host: peaks while
    quantizing; answering: on the device. quantizing, asking: hours at the stated throughput.
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


def needs_of(jobs: Sequence[Config], sizes: Sizes) -> Needs:
    """Entries of one quantizer and one calibration are made once and serve every plan."""
    first, model = jobs[0], jobs[0].model
    streamed, width = model.memory == "streamed", BYTES[model.dtype]
    entries = {
        (str(q), calibration): q
        for config in jobs
        for q in _quantizers(config)
        for calibration in [str(config.calibration)]
    }
    calibrated = {calibration for (_, calibration), q in entries.items() if needs_calibration(q)}
    questions = sum(
        asked(name, config.limit, config.suite.window)
        for config in jobs
        for name in config.suite.tasks
    )
    tokens = first.calibration.tokens
    widest, largest = max(sizes.inputs), max(out * inner for out, inner in sizes.shapes)
    hessians = 4 * sum(inner * inner for inner in sizes.inputs)
    rest = width * (sizes.model - (sizes.decoder if streamed else 0))
    working = (
        hessians
        + int(8 * FACTOR_MATRICES * widest * widest)
        + 4 * widest * widest
        + 3 * 4 * largest
    )
    streams = 2 * tokens * sizes.hidden * width
    batch = first.suite.batch_size or first.batch_size
    cache = batch * ANSWER_TOKENS * sizes.key_values * width
    packed = (
        variant_of(config, sizes).decoder
        for config in jobs
        if any(True for _ in _quantizers(config))
    )
    live = max(packed, default=width * sizes.block) if streamed else 0
    per_pass = tokens * (
        2 * sizes.decoder + 2 * sizes.blocks * sum(inner * inner for inner in sizes.inputs)
    )
    factors = 3 * sizes.blocks * sum(inner**3 for inner in sizes.inputs)
    passes = len(entries) if streamed else len(calibrated)
    return Needs(
        cells=sum(len(config.suite.tasks) for config in jobs),
        questions=questions,
        layers=len(entries) * sizes.blocks,
        bank=sum(quantized_size(q, sizes.shapes)[1] * sizes.blocks for q in entries.values()),
        statistics=streams // 2 if streamed else 2 * hessians * sizes.blocks * len(calibrated),
        device=rest + (width * sizes.block if streamed else streams) + working,
        host=streams if streamed else width * sizes.model,
        answering=rest + live + cache + largest * (4 + width),
        quantizing=(passes * per_pass + len(calibrated) * factors)
        / (first.plan.teraflops * 1e12)
        / 3600,
        asking=questions / first.plan.questions_per_second / 3600,
    )


def _quantizers(config: Config) -> Iterable[Quantizer]:
    method, blocks = config.method, config.method.k
    parts = (method.low if blocks else None, method.high, *method.candidates)
    return (q for options in parts if (q := build(options, "method")) is not None)


def asked(task: str, limit: int | None, window: int) -> int:
    """Questions, or windows of a text, that a suite has or that a limit leaves; groups that stay
    whole may add a few.
    """
    meta = _metadata().get(task, {})
    count = meta["tokens"] // window if "tokens" in meta else meta.get("questions", MINI_QUESTIONS)
    return int(count if limit is None else min(limit, count))


@functools.cache
def _metadata() -> Mapping[str, dict[str, Any]]:
    """What the task files say under `metadata`, by task."""
    files = (read_task_file(path) for path in TASKS.glob("*/*.yaml"))
    return {config["task"]: config.get("metadata") or {} for config in files}


@dataclass(frozen=True)
class Plan:
    """Of one model: a table of its variants, and what else there is to say."""

    head: tuple[str, ...]
    rows: list[tuple[str, ...]]
    lines: list[str]


def run(jobs: Sequence[Job], progress: Progress) -> Outcome:
    """Print the plan of every model of these jobs."""
    for one in plan(jobs):
        progress.table(one.head, one.rows)
        for line in one.lines:
            progress.message(line)
    return Outcome()


def plan(jobs: Sequence[Job]) -> list[Plan]:
    """One for each model of the jobs."""
    by_model: dict[str, list[Config]] = {}
    for job in jobs:
        sizes = sizes_of(job.config.model.path, job.config.model.revision)
        by_model.setdefault(job.config.model.name, []).extend(
            one.config for one in each_k(job, sizes.blocks)
        )
    found = []
    for configs in by_model.values():
        sizes = sizes_of(configs[0].model.path, configs[0].model.revision)
        rows = list(dict.fromkeys(_row(config, sizes) for config in configs))
        found.append(
            Plan(
                (
                    "variant",
                    "paper bits",
                    "stored bits",
                    "decoder",
                    "language model",
                    "whole model",
                ),
                rows,
                _told(configs, sizes),
            )
        )
    return found


def _row(config: Config, sizes: Sizes) -> tuple[str, ...]:
    found = variant_of(config, sizes)
    paper = "" if math.isnan(found.paper_bits) else f"{found.paper_bits:.2f}"
    return (
        found.label,
        paper,
        f"{found.stored_bits:.3f}",
        *(bytes_text(size) for size in (found.decoder, found.text, found.model)),
    )


def _told(configs: Sequence[Config], sizes: Sizes) -> list[str]:
    needs, first, model = needs_of(configs, sizes), configs[0], configs[0].model
    shapes = ", ".join(f"{out:,} x {inner:,}" for out, inner in dict.fromkeys(sizes.shapes))
    what = "activations between two blocks" if model.memory == "streamed" else "statistics"
    tokens, batch = first.calibration.tokens, first.suite.batch_size or first.batch_size
    return [
        (
            f"{model.name}: {sizes.blocks} decoder blocks of {len(sizes.shapes)} linears"
            f" ({shapes}), {sizes.decoder:,} weights; language model {sizes.text:,}, whole model"
            f" {sizes.model:,} parameters, {bytes_text(2 * sizes.model)} at 16 bits."
        ),
        (
            f"{needs.cells} cells with {needs.questions:,} questions; {needs.layers} blocks to"
            f" quantize, each once: {bytes_text(needs.bank)} of disk, and"
            f" {bytes_text(needs.statistics)} for {what}."
        ),
        (
            f"Peak memory with model.memory={model.memory} and {tokens:,} calibration tokens:"
            f" quantizing {bytes_text(needs.device)} on the device and {bytes_text(needs.host)} on"
            f" the host beside the program itself; answering {bytes_text(needs.answering)} on the"
            f" device at batch {batch}."
        ),
        (
            f"Time: asking {needs.asking:.1f} h at {first.plan.questions_per_second:g} questions a"
            f" second (plan.questions_per_second), calibrating {needs.quantizing:.1f} h at"
            f" {first.plan.teraflops:g} TFLOP/s (plan.teraflops) beside the quantizers' own"
            " searches."
        ),
        *([_beside_paper(model.name, sizes, *PAPER[model.path])] if model.path in PAPER else []),
    ]


def _beside_paper(name: str, sizes: Sizes, k: int, bits: float, saving: float) -> str:
    """The paper's own size claim recomputed, on the bits that it counts and on those that are
    stored.
    """
    low, high = (build(options, "method") for options in LUQ)
    assert low is not None
    assert high is not None
    (_, low_size), (_, high_size) = (quantized_size(q, sizes.shapes) for q in (low, high))
    three = build({"method": "gptq", "bits": 3}, "method")
    assert three is not None
    nominal = (k * PAPER_LOW + (sizes.blocks - k) * PAPER_HIGH) / sizes.blocks
    stored = (k * low_size + (sizes.blocks - k) * high_size) / sizes.blocks
    against = stored / quantized_size(three, sizes.shapes)[1] - 1
    return (
        f"The paper's LUQ-{k} on {name}: {bits} bits and {saving:.0%} smaller than 4 bits. From its"
        f" own {PAPER_LOW} and {PAPER_HIGH:g} bits: {nominal:.3f} bits,"
        f" {1 - nominal / PAPER_HIGH:.1%} smaller. As stored: {8 * stored / sizes.block:.3f} bits,"
        f" {1 - stored / high_size:.1%} smaller than GPTQ-4 and {abs(against):.1%}"
        f" {'larger' if against > 0 else 'smaller'} than GPTQ-3."
    )
