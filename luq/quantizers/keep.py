"""No quantization: the weight as it is, in the smallest floating-point type that holds it exactly."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from luq.rounding.error_feedback import require_matrix
from luq.types import Event, LayerStats, OptionError

EXACT = (torch.bfloat16, torch.float16, torch.float32)


@dataclass(frozen=True)
class Keep:
    """Every weight stays as it is; 16 bits for the weights of a bfloat16 or float16 checkpoint, 32
    for others.

    perturbation: instead, every weight is multiplied by 1 + u with u uniform up to this size, and
    kept in bfloat16: what rounding to that type may do to a model (2**-8 is its largest relative
    error). seed: of u.
    """

    method: ClassVar[str] = "none"
    paper: ClassVar[str] = "no quantization"
    needs_stats: ClassVar[bool] = False
    perturbation: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.perturbation < 1:
            raise OptionError(
                f"perturbation is {self.perturbation}; it is a share of each weight, 0 to below 1"
            )

    def __call__(self, weight: Tensor, stats: LayerStats | None) -> DenseWeight:
        require_matrix(weight, self.method)
        weight = weight.float()
        if self.perturbation:
            return DenseWeight(self._perturbed(weight.cpu()).bfloat16())
        return DenseWeight(smallest_exact(weight).cpu().clone())

    def _perturbed(self, weight: Tensor) -> Tensor:
        # Layers of one shape shall not all be moved alike. 32 bits: torch's generator on the CPU
        # looks at no more.
        mixed = zlib.crc32(weight.contiguous().numpy().tobytes(), self.seed)
        noise = torch.rand(
            weight.shape, generator=torch.Generator().manual_seed(mixed), device="cpu"
        )
        return weight * (1 + self.perturbation * (2 * noise - 1))


def smallest_exact(tensor: Tensor) -> Tensor:
    """The tensor in the smallest floating-point type that holds every value of it; float64 and what
    is no floating point as they are.
    """
    if tensor.dtype not in EXACT:
        return tensor
    return next(
        small for dtype in EXACT if torch.equal((small := tensor.to(dtype)).float(), tensor.float())
    )


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
