"""`python -m tools.agreement`: what other libraries make of the embedded model, beside our own
method on the same calibration tokens.

For every worker whose environment is built: the share of the first block's weights that are the
same number (its inputs are the same on both sides; later ones are not, because the libraries
calibrate behind quantized blocks and we behind full-precision ones), and, for the first block and
for all, the relative squared change of the block's output.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from loguru import logger
from rich.console import Console
from rich.table import Table
from torch import nn

from harness.config.compose import compose
from harness.config.schema import MethodConfig, WorkersConfig
from harness.models.load import load_model
from harness.store.store import Store
from harness.variants.calibration_run import CalibrationRun
from harness.variants.variant import Variant, make_variant
from luq.calibration.capture import BlockCapture
from luq.decoder.blocks import BlockWeights, run_block
from luq.types import QuantizationError

SAME = 1e-3  # of the weights' standard deviation: what half-precision scales may move
OURS: Mapping[str, dict[str, object]] = {
    "auto_gptq": {"method": "gptq", "bits": 4, "true_sequential": True},
    "gptqmodel": {"method": "gptq", "bits": 4, "true_sequential": True},
    "llmcompressor": {"method": "gptq", "bits": 4},
    "autoawq": {"method": "awq", "bits": 4, "duo": True},
}


def same_share(first: BlockWeights, second: BlockWeights, block: nn.Module) -> float | None:
    """Share of the block's weights that agree; None where either side moved scales, so that single
    weights say nothing.
    """
    if first.changed or second.changed:
        return None
    same = total = 0
    for name, weight in first.linears.items():
        apart = (weight.dequantize() - second.linears[name].dequantize()).abs()
        same += int((apart < SAME * block.get_parameter(f"{name}.weight").std()).sum())
        total += apart.numel()
    return same / total


@torch.inference_mode()
def output_error(block: nn.Module, weights: BlockWeights, capture: BlockCapture) -> float:
    """Squared change of the block's output, over that of what the block adds to its input."""
    working = copy.deepcopy(block)
    for name, packed in weights.linears.items():
        working.get_parameter(f"{name}.weight").copy_(packed.dequantize())
    for name, value in weights.changed.items():
        working.get_parameter(name).copy_(value)
    change = added = 0.0
    for given, output in zip(capture.inputs, capture.outputs, strict=True):
        change += float((run_block(working, given)[0] - output).square().sum())
        added += float((output - given.state[0]).square().sum())
    return change / added


def compare(run: CalibrationRun, workers: WorkersConfig) -> Table:
    table = Table(
        "worker",
        "stored bits\ntheirs, ours",
        "block 0: same\nweights",
        "block 0: output error\ntheirs, ours",
        "all blocks, mean",
    )
    pairs: dict[str, tuple[Variant, Variant]] = {}
    for name, own in OURS.items():
        try:
            external = MethodConfig(name=name, high={"method": "external", "worker": name})
            theirs = make_variant(run, external, workers=workers)
        except QuantizationError as error:
            table.add_row(name, str(error).split("\n")[0])
            continue
        pairs[name] = theirs, make_variant(run, MethodConfig(name=f"our {name}", high=dict(own)))
    errors: dict[str, list[tuple[float, float]]] = {name: [] for name in pairs}
    for capture in run.captures() if pairs else ():
        block = run.loaded.blocks[capture.index]
        for name, both in pairs.items():
            first, second = (
                output_error(block, variant.weights[capture.index], capture) for variant in both
            )
            errors[name].append((first, second))
    for name, (theirs, ours) in pairs.items():
        same = same_share(theirs.weights[0], ours.weights[0], run.loaded.blocks[0])
        means = [statistics.mean(side) for side in zip(*errors[name], strict=True)]
        table.add_row(
            name,
            f"{theirs.stored_bits:.3f}, {ours.stored_bits:.3f}",
            "scales moved" if same is None else f"{same:.1%}",
            f"{errors[name][0][0]:.5f}, {errors[name][0][1]:.5f}",
            f"{means[0]:.5f}, {means[1]:.5f}",
        )
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("runs"))
    parser.add_argument(
        "--workers",
        default=".workers",
        help="folder of the environments that `make workers` builds",
    )
    options = parser.parse_args()
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    model = load_model("mini", "mini", "float32", "auto")
    calibration_run = CalibrationRun(model, compose([]).calibration, Store(options.store))
    Console().print(compare(calibration_run, WorkersConfig(options.workers)))
