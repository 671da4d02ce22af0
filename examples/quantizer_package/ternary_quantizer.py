"""A quantizer of three values a weight, as a package of its own."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from luq.quantizers.registry import register
from luq.rounding.error_feedback import require_matrix
from luq.rounding.grids import GridWeight, require_precise, stored_scale
from luq.types import OptionError


@register
@dataclass(frozen=True)
class Ternary:
    """Each weight becomes -s, 0 or s, where s is the mean magnitude of its group.

    Attributes:
        group: columns that share a scale.
        threshold: weights below this share of s become 0.
    """

    method: ClassVar[str] = "ternary"
    paper: ClassVar[str] = "an example"
    needs_stats: ClassVar[bool] = False
    formats: ClassVar[tuple] = (GridWeight,)
    group: int = 64
    threshold: float = 0.5

    def __post_init__(self):
        if self.group < 1 or not 0 < self.threshold < 1:
            raise OptionError("ternary: group must be at least 1, threshold between 0 and 1")

    def __call__(self, weight, stats):
        require_matrix(weight, self.method)
        codes, scales = [], []
        for columns in weight.float().split(self.group, dim=1):
            scale = stored_scale(columns.abs().mean(dim=1, keepdim=True), torch.float16)
            sign = torch.sign(columns) * (columns.abs() > self.threshold * scale)
            codes.append(2 + sign)  # a symmetric grid of two bits has its zero at code 2
            scales.append(scale)
        scales = torch.cat(scales, dim=1)
        require_precise(scales, 2, torch.float16)  # where weights are too small, say so
        return GridWeight.pack(
            torch.cat(codes, dim=1),
            scales,
            None,
            bits=2,
            group=self.group,
            scale_dtype=torch.float16,
        )
