"""What a block's bits are worth, measured without running the whole model."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from luq.calibration.capture import BlockCapture
from luq.decoder.blocks import BlockWeights
from luq.decoder.families import Family, block_linears
from luq.types import LayerStats, QuantizationError


def block_influence(capture: BlockCapture) -> float:
    """1 - cos(x, y), over tokens, of the residual stream before (x) and behind (y) the block
    (ShortGPT, Men et al. 2024): 0..2.
    """
    total, tokens = 0.0, 0
    for given, output in zip(capture.inputs, capture.outputs, strict=True):
        cosine = torch.nn.functional.cosine_similarity(
            given.state[0].float(), output.float(), dim=-1
        )
        total += float((1 - cosine).sum())
        tokens += len(output)
    return total / tokens


def layer_error(
    block: nn.Module, family: Family, weights: BlockWeights, stats: Mapping[str, LayerStats]
) -> float:
    """Σ tr(ΔHΔᵀ) / Σ tr(WHWᵀ) over the block's linears: the share of their outputs that
    quantization changes.

    Raises QuantizationError for weights that changed other parameters too: their linears no longer
    see the inputs behind H.
    """
    if weights.changed:
        raise QuantizationError(
            "layer_error cannot judge a method that also changes"
            f" {', '.join(sorted(weights.changed))}; use damage"
        )
    changed = whole = 0.0
    for name, linear in block_linears(block, family).items():
        weight, hessian = linear.weight.float(), stats[name].hessian.to(linear.weight.device)
        change = weights.linears[name].dequantize().to(weight.device) - weight
        changed += float(((change @ hessian) * change).sum())
        whole += float(((weight @ hessian) * weight).sum())
    return changed / whole
