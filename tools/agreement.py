"""`python -m tools.agreement`: our methods versus those of other libraries.

Both quantize the embedded model with the same calibration tokens. For every worker whose
environment is built (`make workers`) a table shows the share of the first block's weights that are
the same number, and the error of the block's output, for the first block and for all. Inputs of
later blocks differ: the libraries calibrate behind quantized blocks, we behind full-precision ones.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
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
# worker: our method with the same algorithm
COUNTERPARTS: Mapping[str, Mapping[str, object]] = {
    "auto_gptq": {"method": "gptq", "bits": 4, "true_sequential": True},
    "gptqmodel": {"method": "gptq", "bits": 4, "true_sequential": True},
    "llmcompressor": {"method": "gptq", "bits": 4},
    "autoawq": {"method": "awq", "bits": 4, "duo": True},
}


@dataclass(frozen=True)
class Pair:
    """A library's variant and ours.

    Attributes:
        worker: The library.
        library: Its variant.
        ours: The variant of our method.
        errors: Output errors of both, block by block.
    """

    worker: str
    library: Variant
    ours: Variant
    errors: list[tuple[float, float]] = field(default_factory=list)


def same_share(first: BlockWeights, second: BlockWeights, block: nn.Module) -> float | None:
    """Share of the block's weights that agree.

    Args:
        first: Quantized weights of the block.
        second: The same by another method.
        block: In full precision.

    Returns:
        From 0 to 1; None where either side moved scales, so that single weights say nothing.
    """
    if first.changed or second.changed:
        return None
    same = total = 0
    for name, weight in first.linears.items():
        difference = (weight.dequantize() - second.linears[name].dequantize()).abs()
        same += int((difference < SAME * block.get_parameter(f"{name}.weight").std()).sum())
        total += difference.numel()
    return same / total


@torch.inference_mode()
def output_error(block: nn.Module, weights: BlockWeights, capture: BlockCapture) -> float:
    """Squared change of the block's output, over that of what the block adds to its input.

    Args:
        block: In full precision; left as it is.
        weights: Of the quantized block.
        capture: Inputs and full-precision outputs of the block.
    """
    quantized = copy.deepcopy(block)
    for name, packed in weights.linears.items():
        quantized.get_parameter(f"{name}.weight").copy_(packed.dequantize())
    for name, value in weights.changed.items():
        quantized.get_parameter(name).copy_(value)
    change = added = 0.0
    for inputs, output in zip(capture.inputs, capture.outputs, strict=True):
        change += float((run_block(quantized, inputs)[0] - output).square().sum())
        added += float((output - inputs.state[0]).square().sum())
    return change / added


def compare(run: CalibrationRun, workers: WorkersConfig) -> Table:
    """Quantize with every library and with our counterparts, and compare.

    Args:
        run: Model and calibration data of both.
        workers: Where the libraries' environments are. One that is absent is a row that says so.
    """
    table = Table(
        "worker",
        "stored bits\nlibrary, ours",
        "block 0: same\nweights",
        "block 0: output error\nlibrary, ours",
        "all blocks, mean",
    )
    pairs = []
    for worker, counterpart in COUNTERPARTS.items():
        try:
            pairs.append(_make_pair(run, workers, worker, counterpart))
        except QuantizationError as error:
            table.add_row(worker, str(error).split("\n")[0])
    for capture in run.captures() if pairs else ():
        block, index = run.loaded.blocks[capture.index], capture.index
        for pair in pairs:
            library = output_error(block, pair.library.weights[index], capture)
            pair.errors.append((library, output_error(block, pair.ours.weights[index], capture)))
    for pair in pairs:
        table.add_row(*_row(pair, run.loaded.blocks[0]))
    return table


def _make_pair(
    run: CalibrationRun, workers: WorkersConfig, worker: str, counterpart: Mapping[str, object]
) -> Pair:
    external = MethodConfig(name=worker, high={"method": "external", "worker": worker})
    library = make_variant(run, external, workers=workers)
    ours = make_variant(run, MethodConfig(name=f"our {worker}", high=dict(counterpart)))
    return Pair(worker, library, ours)


def _row(pair: Pair, first_block: nn.Module) -> tuple[str, str, str, str, str]:
    same = same_share(pair.library.weights[0], pair.ours.weights[0], first_block)
    means = [statistics.mean(errors) for errors in zip(*pair.errors, strict=True)]
    return (
        pair.worker,
        f"{pair.library.stored_bits:.3f}, {pair.ours.stored_bits:.3f}",
        "scales moved" if same is None else f"{same:.1%}",
        f"{pair.errors[0][0]:.5f}, {pair.errors[0][1]:.5f}",
        f"{means[0]:.5f}, {means[1]:.5f}",
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tools.agreement", description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("runs"))
    parser.add_argument(
        "--workers", default=".workers", help="folder of the environments of `make workers`"
    )
    options = parser.parse_args()
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    model = load_model("mini", "mini", "float32", "auto")
    run = CalibrationRun(model, compose([]).calibration, Store(options.store))
    Console().print(compare(run, WorkersConfig(options.workers)))


if __name__ == "__main__":
    main()
