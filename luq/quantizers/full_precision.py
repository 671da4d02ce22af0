"""No quantization: each weight in the smallest floating-point type that holds it exactly."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from luq.quantizers.registry import register
from luq.rounding.dense import DenseWeight, smallest_exact
from luq.rounding.error_feedback import require_matrix
from luq.types import LayerStats, OptionError, QuantizedWeight


@register
@dataclass(frozen=True)
class FullPrecision:
    """Leave every weight as it is: 16 bits if it comes from a 16-bit checkpoint, otherwise 32.

    Attributes:
        perturbation: if not 0, multiply each weight by 1 + u with u uniform up to this size, and
            store it as bfloat16. 2**-8 is the largest relative error of rounding to that type.
        seed: of u.
    """

    method: ClassVar[str] = "none"
    paper: ClassVar[str] = "no quantization"
    needs_stats: ClassVar[bool] = False
    formats: ClassVar[tuple[type[QuantizedWeight], ...]] = (DenseWeight,)
    contract_options: ClassVar[tuple[Mapping[str, object], ...]] = ({}, {"perturbation": 2**-8})
    perturbation: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.perturbation < 1:
            raise OptionError(
                f"perturbation is {self.perturbation}; it is a share of each weight, 0 to below 1"
            )

    def __call__(self, weight: Tensor, stats: LayerStats | None) -> DenseWeight:
        """Store one weight (out, in); `stats` is not used."""
        weight = require_matrix(weight, self.method)
        weight = weight.float()
        if self.perturbation:
            return DenseWeight(self._perturbed(weight.cpu()).bfloat16())
        return DenseWeight(smallest_exact(weight).cpu().clone())

    def _perturbed(self, weight: Tensor) -> Tensor:
        # The seed depends on the weight, so that layers of one shape get different noise. It has 32
        # bits: torch's generator on the CPU uses no more.
        mixed = zlib.crc32(weight.contiguous().numpy().tobytes(), self.seed)
        noise = torch.rand(
            weight.shape, generator=torch.Generator().manual_seed(mixed), device="cpu"
        )
        return weight * (1 + self.perturbation * (2 * noise - 1))
