"""Hessians of linear layers: the mean over tokens of x xᵀ for inputs x."""

from __future__ import annotations

from collections.abc import Sequence

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
