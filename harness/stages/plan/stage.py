"""stage=plan: what a command would store, need and cost; no weights are read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.config.schema import Config
from harness.progress import Progress
from harness.stages.base import Job, Outcome, each_k
from harness.stages.cells import order_name
from harness.stages.plan.needs import needs_of
from harness.variants.quantizers import build
from harness.variants.sizes import ModelSizes, quantized_size, sizes_of, variant_size
from luq.types import Quantizer
from reports.paper.numbers import BACKBONES, HIGH_BITS, LOW_BITS, Backbone
from reports.report.lines import bytes_text

HEAD = ("variant", "paper bits", "stored bits", "decoder", "language model", "whole model")


@dataclass(frozen=True)
class Plan:
    """Of one model: a row for each variant below HEAD, and sentences."""

    rows: list[tuple[str, ...]]
    lines: list[str]


def run(jobs: Sequence[Job], progress: Progress) -> Outcome:
    """Print the plan of every model of these jobs."""
    for plan in plans(jobs):
        progress.table(HEAD, plan.rows)
        for line in plan.lines:
            progress.message(line)
    return Outcome()


def plans(jobs: Sequence[Job]) -> list[Plan]:
    """A plan for each model of the jobs."""
    by_model: dict[str, list[Config]] = {}
    for job in jobs:
        blocks = _sizes(job.config).blocks
        by_model.setdefault(job.config.model.name, []).extend(
            one.config for one in each_k(job, blocks)
        )
    return [_plan(configs, _sizes(configs[0])) for configs in by_model.values()]


def _sizes(config: Config) -> ModelSizes:
    return sizes_of(config.model.path, config.model.revision)


def _plan(configs: Sequence[Config], sizes: ModelSizes) -> Plan:
    rows = list(dict.fromkeys(_row(config, sizes) for config in configs))
    return Plan(rows, _lines(configs, sizes))


def _row(config: Config, sizes: ModelSizes) -> tuple[str, ...]:
    size = variant_size(config, sizes)
    return (
        _label(config),
        "" if math.isnan(size.paper_bits) else f"{size.paper_bits:.2f}",
        f"{size.stored_bits:.3f}",
        *(bytes_text(one) for one in (size.decoder, size.text, size.model)),
    )


def _label(config: Config) -> str:
    method = config.method
    order = order_name(config) if method.k or method.candidates else ""
    parts = (method.name, f"k={method.k}" if method.k else "", order.removeprefix("entropy"))
    return " ".join(part.strip() for part in parts if part.strip())


def _lines(configs: Sequence[Config], sizes: ModelSizes) -> list[str]:
    needs, first, model = needs_of(configs, sizes), configs[0], configs[0].model
    shapes = ", ".join(f"{out:,} x {inner:,}" for out, inner in dict.fromkeys(sizes.shapes))
    what = "activations between two blocks" if model.memory == "streamed" else "statistics"
    tokens, batch = first.calibration.tokens, first.suite.batch_size or first.batch_size
    lines = [
        f"{model.name}: {sizes.blocks} decoder blocks of {len(sizes.shapes)} linears ({shapes}), "
        f"{sizes.decoder:,} weights; language model {sizes.text:,}, whole model {sizes.model:,} "
        f"parameters, {bytes_text(2 * sizes.model)} at 16 bits.",
        f"{needs.cells} cells with {needs.questions:,} questions; {needs.layers} blocks to "
        f"quantize, each once: {bytes_text(needs.bank)} of disk, and "
        f"{bytes_text(needs.statistics)} for {what}.",
        f"Peak memory with model.memory={model.memory} and {tokens:,} calibration tokens: "
        f"quantizing {bytes_text(needs.device)} on the device and {bytes_text(needs.host)} on the "
        f"host, the program itself not counted; answering {bytes_text(needs.answering)} on the "
        f"device at batch {batch}.",
        f"Time: answering {needs.asking:.1f} h at {first.plan.questions_per_second:g} questions a "
        f"second (plan.questions_per_second), calibration {needs.quantizing:.1f} h at "
        f"{first.plan.teraflops:g} TFLOP/s (plan.teraflops), the quantizers' own searches not "
        "counted.",
    ]
    lines += [
        _compared_with_paper(model.name, sizes, backbone)
        for backbone in BACKBONES
        if backbone.repository == model.path
    ]
    return lines


def _compared_with_paper(name: str, sizes: ModelSizes, paper: Backbone) -> str:
    """The paper's own claim of size recomputed, on the bits that it counts and on stored bits."""
    low = _block_bytes({"method": "billm"}, sizes)
    high = _block_bytes({"method": "gptq", "bits": 4}, sizes)
    three = _block_bytes({"method": "gptq", "bits": 3}, sizes)
    nominal, stored = paper.mean_bits(), paper.mean_bits(low, high)
    larger = stored / three - 1
    return (
        f"The paper's {paper.luq} on {name}: {paper.average_bits} bits and {paper.saving:.0%} "
        f"smaller than 4 bits. From its own {LOW_BITS} and {HIGH_BITS:g} bits: {nominal:.3f} bits, "
        f"{1 - nominal / HIGH_BITS:.1%} smaller. As stored: {8 * stored / sizes.block:.3f} bits, "
        f"{1 - stored / high:.1%} smaller than GPTQ-4 and {abs(larger):.1%} "
        f"{'larger' if larger > 0 else 'smaller'} than GPTQ-3."
    )


def _block_bytes(options: dict[str, object], sizes: ModelSizes) -> int:
    quantizer: Quantizer | None = build(options, "method")
    assert quantizer is not None
    return quantized_size(quantizer, sizes.shapes)[1]
