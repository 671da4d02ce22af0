"""Scores of blocks that need no run of the whole model."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from luq.calibration.capture import BlockCapture
from luq.decoder.blocks import BlockWeights
from luq.decoder.families import Family, block_linears
from luq.types import LayerStats, QuantizationError


def block_influence(capture: BlockCapture) -> float:
    """Return the mean over tokens of 1 - cos(x, y), from 0 to 2.

    x and y are the residual stream before and after the block. Source: block influence in ShortGPT
    (Men et al. 2024).
    """
    total, tokens = 0.0, 0
    for block_input, output in zip(capture.inputs, capture.outputs, strict=True):
        cosine = torch.nn.functional.cosine_similarity(
            block_input.state[0].float(), output.float(), dim=-1
        )
        total += float((1 - cosine).sum())
        tokens += len(output)
    return total / tokens


def layer_error(
    block: nn.Module, family: Family, weights: BlockWeights, stats: Mapping[str, LayerStats]
) -> float:
    """Return Σ tr(ΔHΔᵀ) / Σ tr(WHWᵀ) over the block's linears.

    This is the relative squared error of their outputs that quantization makes.

    Args:
        block: with its weights W in full precision.
        family: the model's family.
        weights: quantized weights W + Δ.
        stats: statistics of each linear by name, with its Hessian H.

    Raises:
        QuantizationError: The weights change other parameters too; their linears get other inputs
            than those of H.
    """
    if weights.changed:
        raise QuantizationError(
            "layer_error cannot judge a method that also changes"
            f" {', '.join(sorted(weights.changed))}; use another order"
        )
    error = total = 0.0
    for name, linear in block_linears(block, family).items():
        weight, hessian = linear.weight.float(), stats[name].hessian.to(linear.weight.device)
        change = weights.linears[name].dequantize().to(weight.device) - weight
        error += float(((change @ hessian) * change).sum())
        total += float(((weight @ hessian) * weight).sum())
    return error / total
