"""Linear layers that compute from their packed weight.

A model with packed linears fits into memory where its dense weights would not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from luq.decoder.blocks import BlockWeights
from luq.decoder.families import Family, decoder_blocks
from luq.types import QuantizationError, QuantizedWeight, on_device


class PackedLinear(nn.Module):
    """A linear layer that rebuilds its weight for every call, in the dtype of its input.

    It computes the same values as the dense layer, and takes longer by the unpacking.

    Args:
        packed: the stored weight.
        bias: (out,) or None.
    """

    def __init__(self, packed: QuantizedWeight, bias: Tensor | None = None):
        super().__init__()
        self.out_features, self.in_features = packed.shape
        self.packed = packed
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return inputs Wᵀ + bias for inputs (..., in)."""
        return nn.functional.linear(inputs, self.packed.dequantize().to(inputs.dtype), self.bias)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> PackedLinear:
        # Only the device changes: stored tensors keep their types whatever the model computes in.
        device = next(iter(self.packed.tensors().values())).device
        self.packed = on_device(self.packed, fn(torch.empty(0, device=device)).device)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def extra_repr(self) -> str:
        """Return what `print(model)` shows inside the parentheses."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features},"
            f" format={self.packed.format}"
        )


def pack_model(
    model: nn.Module,
    family: Family,
    weights: Mapping[int, BlockWeights],
    device: torch.device | None = None,
) -> None:
    """Replace linears of a model by `PackedLinear` modules.

    Args:
        model: changed in place.
        family: the model's family.
        weights: packed weights by block; other blocks stay as they are.
        device: where the packed weights go; None leaves them where they are.

    Raises:
        QuantizationError: A packed weight has another shape than the linear.
    """
    blocks = decoder_blocks(model, family)
    for index, block_weights in weights.items():
        for name, packed in block_weights.linears.items():
            linear: Any = blocks[index].get_submodule(name)
            if packed.shape != (linear.out_features, linear.in_features):
                raise QuantizationError(
                    f"block {index} {name}: packed are {packed.shape}, the model has"
                    f" {(linear.out_features, linear.in_features)}"
                )
            blocks[index].set_submodule(
                name,
                PackedLinear(packed if device is None else on_device(packed, device), linear.bias),
            )


def packed_weights(model: nn.Module, family: Family) -> dict[int, BlockWeights]:
    """Return the packed weights in a model by block; blocks with dense linears are left out."""
    weights: dict[int, BlockWeights] = {}
    for index, block in enumerate(decoder_blocks(model, family)):
        linears = {
            name: module.packed
            for name in family.linears
            if isinstance(module := block.get_submodule(name), PackedLinear)
        }
        if linears:
            weights[index] = BlockWeights(linears)
    return weights
