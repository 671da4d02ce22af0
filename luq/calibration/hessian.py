"""Streaming Hessians: the mean over tokens of x xᵀ for every group of linears with a common input."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from luq.types import LayerStats, QuantizationError


class HessianSum:
    """Accumulates Σ x xᵀ in float32. Padding must not reach it: feed real tokens only."""

    def __init__(self, size: int, device: torch.device):
        """size: of the inputs, which come on `device`."""
        self.total = torch.zeros(size, size, dtype=torch.float32, device=device)
        self.tokens = 0

    def add(self, inputs: Tensor) -> None:
        """inputs: (..., in)."""
        flat = inputs.detach().reshape(-1, inputs.shape[-1]).float()
        self.total.addmm_(flat.T, flat)
        self.tokens += flat.shape[0]

    def stats(self, label: str) -> LayerStats:
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
    """The statistics of all tokens of the parts together; Hessians are linear in the calibration
    mix.
    """
    tokens = sum(part.tokens for part in parts)
    hessian = sum(
        (part.hessian * (part.tokens / tokens) for part in parts[1:]),
        parts[0].hessian * (parts[0].tokens / tokens),
    )
    return LayerStats(hessian, tokens, parts[0].inputs)
