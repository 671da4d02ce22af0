"""True-sequential quantization: inside a block, every group of linears is calibrated behind the
groups already quantized.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from luq.calibration.hessian import HessianSum
from luq.decoder.blocks import BlockInput, BlockWeights, batched, watch_inputs
from luq.decoder.families import Family, block_linears
from luq.types import QuantizationError, QuantizedWeight, Quantizer


@torch.no_grad()
def quantize_in_turn(
    quantizer: Quantizer, block: nn.Module, family: Family, inputs: Sequence[BlockInput]
) -> BlockWeights:
    """The groups of `family.shared_inputs` one after the other (GPTQ's true-sequential: k, v, q; o;
    up, gate; down), a pass over the inputs for each. The block itself stays as it is. Raises
    QuantizationError that names the linear.
    """
    working, inputs = copy.deepcopy(block), batched(inputs)
    linears = block_linears(working, family)
    weights: dict[str, QuantizedWeight] = {}
    for group in family.shared_inputs:
        total = HessianSum(linears[group[0]].in_features, linears[group[0]].weight.device)
        watch_inputs(working, inputs, {linears[group[0]]: _adding_to(total)})
        stats = total.stats(group[0])
        for name in group:
            try:
                weights[name] = quantizer(linears[name].weight.detach(), stats)
            except QuantizationError as error:
                raise QuantizationError(f"{name}: {error}") from error
            linears[name].weight.data = weights[name].dequantize().to(linears[name].weight)
    return BlockWeights({name: weights[name] for name in family.linears})


def _adding_to(total: HessianSum) -> Callable[[tuple[Any, ...], dict[str, Any]], None]:
    return lambda args, _kwargs: total.add(args[0])
