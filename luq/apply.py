"""Put quantized weights into a model and take them out again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from luq.bank import BlockWeights
from luq.families import Family, block_linears, decoder_blocks
from luq.types import QuantizationError


@contextmanager
def applied(model: nn.Module, family: Family, weights: Mapping[int, BlockWeights]) -> Iterator[None]:
    """Inside the context the model computes with the dequantized weights, in its own dtype; afterwards it is bit for bit what it was."""
    originals: list[tuple[nn.Linear, Tensor]] = []
    blocks = decoder_blocks(model, family)
    try:
        for index, entry in weights.items():
            for name, linear in block_linears(blocks[index], family).items():
                value = entry[name].dequantize()
                if value.shape != linear.weight.shape:
                    raise QuantizationError(
                        f"block {index} {name}: the bank has {tuple(value.shape)}, the model {tuple(linear.weight.shape)}"
                    )
                originals.append((linear, linear.weight.data))
                linear.weight.data = value.to(device=linear.weight.device, dtype=linear.weight.dtype)
        yield
    finally:
        with torch.no_grad():
            for linear, original in reversed(originals):
                linear.weight.data = original
