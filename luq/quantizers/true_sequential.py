"""True-sequential quantization of a block, an option of GPTQ (Frantar et al., ICLR 2023).

Each group of linears with a common input is calibrated after the groups before it are quantized.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn

from luq.calibration.hessian import HessianSum
from luq.decoder.blocks import BlockInput, BlockWeights, Watcher, batched, watch_inputs
from luq.decoder.families import Family, block_linears
from luq.types import QuantizationError, QuantizedWeight, Quantizer


@torch.no_grad()
def quantize_true_sequential(
    quantizer: Quantizer, block: nn.Module, family: Family, inputs: Sequence[BlockInput]
) -> BlockWeights:
    """Quantize the groups of `family.shared_inputs` in turn, with one pass over the inputs each.

    Args:
        quantizer: called for each weight with the Hessian of its current inputs.
        block: not changed; the work is done on a copy.
        family: the model's family.
        inputs: the block's calibration inputs.

    Raises:
        QuantizationError: Names the linear.
    """
    working, batches = copy.deepcopy(block), batched(inputs)
    linears = block_linears(working, family)
    weights: dict[str, QuantizedWeight] = {}
    for group in family.shared_inputs:
        total = HessianSum(linears[group[0]].in_features, linears[group[0]].weight.device)
        watch_inputs(working, batches, {linears[group[0]]: _add_to(total)})
        stats = total.stats(group[0])
        for name in group:
            try:
                weights[name] = quantizer(linears[name].weight.detach(), stats)
            except QuantizationError as error:
                raise QuantizationError(f"{name}: {error}") from error
            linears[name].weight.data = weights[name].dequantize().to(linears[name].weight)
    return BlockWeights({name: weights[name] for name in family.linears})


def _add_to(total: HessianSum) -> Watcher:
    return lambda args, _kwargs: total.add(args[0])
