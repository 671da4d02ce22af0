"""No quantization: the weight as it is, in the smallest floating-point type that holds it exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from luq.quantizers.column_sweep import require_matrix
from luq.types import Event, LayerStats

EXACT = (torch.bfloat16, torch.float16, torch.float32)


@dataclass(frozen=True)
class Keep:
    """Every weight stays as it is; 16 bits for the weights of a bfloat16 or float16 checkpoint, 32 for others."""

    method: ClassVar[str] = "none"
    paper: ClassVar[str] = "no quantization"
    needs_stats: ClassVar[bool] = False

    def __call__(self, weight: Tensor, stats: LayerStats | None) -> DenseWeight:
        require_matrix(weight, self.method)
        weight = weight.float()
        return DenseWeight(smallest_exact(weight).cpu().clone())


def smallest_exact(tensor: Tensor) -> Tensor:
    """The tensor in the smallest floating-point type that holds every value of it; float64 and what is no floating point as they are."""
    if tensor.dtype not in EXACT:
        return tensor
    return next(small for dtype in EXACT if torch.equal((small := tensor.to(dtype)).float(), tensor.float()))


@dataclass(frozen=True)
class DenseWeight:
    """weight: (out, in) floating point."""

    format: ClassVar[str] = "dense"
    weight: Tensor
    events: tuple[Event, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        out, inner = self.weight.shape
        return out, inner

    @property
    def paper_bits(self) -> float:
        return 8.0 * self.weight.element_size()

    def tensors(self) -> dict[str, Tensor]:
        return {"weight": self.weight}

    def header(self) -> dict[str, Any]:
        return {}

    def dequantize(self) -> Tensor:
        """(out, in) float32."""
        return self.weight.float()
