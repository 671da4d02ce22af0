"""Hessians of linear layers: the mean over tokens of x xᵀ for inputs x."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from luq.types import LayerStats, QuantizationError


class HessianSum:
    """A running sum Σ x xᵀ in float32. Padding must not reach it.

    Args:
        size: number of input features.
        device: of the inputs and the sum.
    """

    def __init__(self, size: int, device: torch.device):
        self.total = torch.zeros(size, size, dtype=torch.float32, device=device)
        self.tokens = 0

    def add(self, inputs: Tensor) -> None:
        """Add inputs of shape (..., in)."""
        flat = inputs.detach().reshape(-1, inputs.shape[-1]).float()
        self.total.addmm_(flat.T, flat)
        self.tokens += flat.shape[0]

    def stats(self, label: str) -> LayerStats:
        """Return the statistics of all tokens.

        Args:
            label: name of the layer, for messages.

        Raises:
            QuantizationError: There were no tokens, or NaN or infinite inputs.
        """
        if self.tokens == 0:
            raise QuantizationError(
                f"{label} was never reached during calibration; its statistics would be empty"
            )
        if not bool(torch.isfinite(self.total).all()):
            raise QuantizationError(
                f"{label}: the inputs of this layer held NaN or infinite values during calibration"
            )
        return LayerStats(self.total / self.tokens, self.tokens)


def summed(parts: Sequence[LayerStats]) -> LayerStats:
    """Return the statistics of all parts of a calibration together.

    Hessians are linear in the calibration mix: this is their mean, weighted by tokens.
    """
    tokens = sum(part.tokens for part in parts)
    hessian = sum(
        (part.hessian * (part.tokens / tokens) for part in parts[1:]),
        parts[0].hessian * (parts[0].tokens / tokens),
    )
    return LayerStats(hessian, tokens, parts[0].inputs)


class SumOfParts:
    """`summed` of parts that come one after the other, in the memory of two and bit for bit.

    Args:
        tokens: of all parts together.
    """

    def __init__(self, tokens: int):
        self.tokens = tokens
        self._totals: dict[str, Tensor] = {}
        self._seen = 0

    def add(self, part: Mapping[str, LayerStats]) -> None:
        """Add the statistics of a block's linears in one part, by name."""
        shared: dict[int, Tensor] = {}
        for name, layer in part.items():
            if id(layer) not in shared:
                share = layer.hessian * (layer.tokens / self.tokens)
                shared[id(layer)] = self._totals[name].add_(share) if self._totals else share
        self._totals = {name: shared[id(layer)] for name, layer in part.items()}
        self._seen += next(iter(part.values())).tokens

    def stats(self) -> dict[str, LayerStats]:
        """Return the statistics of all parts by linear.

        Linears with a common input share one object.

        Raises:
            QuantizationError: The parts had not so many tokens.
        """
        if self._seen != self.tokens:
            raise QuantizationError(
                f"the parts of a calibration had {self._seen} tokens, not {self.tokens}"
            )
        shared = {id(total): LayerStats(total, self.tokens) for total in self._totals.values()}
        return {name: shared[id(total)] for name, total in self._totals.items()}
