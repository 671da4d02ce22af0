"""Weights that are stored unquantized."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from luq.types import Event

EXACT = (torch.bfloat16, torch.float16, torch.float32)


def smallest_exact(tensor: Tensor) -> Tensor:
    """Return the tensor in the smallest floating-point type that holds all its values exactly.

    Tensors that are not bfloat16, float16 or float32 are returned as they are.
    """
    if tensor.dtype not in EXACT:
        return tensor
    return next(
        small for dtype in EXACT if torch.equal((small := tensor.to(dtype)).float(), tensor.float())
    )


@dataclass(frozen=True)
class DenseWeight:
    """An unquantized weight.

    Attributes:
        weight: (out, in), a floating-point type.
        events: see `luq.types.QuantizedWeight`.
    """

    format: ClassVar[str] = "dense"
    weight: Tensor
    events: tuple[Event, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in) of the weight."""
        out, inner = self.weight.shape
        return out, inner

    @property
    def paper_bits(self) -> float:
        """Bits of the floating-point type."""
        return 8.0 * self.weight.element_size()

    def tensors(self) -> dict[str, Tensor]:
        """Return the stored tensors by field name."""
        return {"weight": self.weight}

    def header(self) -> dict[str, int]:
        """Return the other stored fields."""
        return {}

    def dequantize(self) -> Tensor:
        """Return the weight, (out, in) float32."""
        return self.weight.float()
