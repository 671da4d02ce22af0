"""Round to nearest: the baseline for every other method."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from luq.quantizers.registry import register
from luq.rounding.error_feedback import require_matrix
from luq.rounding.grids import (
    SCALE_DTYPES,
    GridWeight,
    check_grid_options,
    fit_grid,
    round_to_grids,
)
from luq.types import LayerStats, QuantizedWeight


@register
@dataclass(frozen=True)
class RTN:
    """Round each weight to the nearest code of a min/max grid.

    Attributes:
        bits: 2 to 8.
        group: columns that share a grid, -1 for the whole row. The last group of a row may be
            shorter.
        symmetric: whether grids are symmetric around zero and store no zero point.
        scale_dtype: type in which scales are stored, float16 or float32.
    """

    method: ClassVar[str] = "rtn"
    paper: ClassVar[str] = "baseline"
    needs_stats: ClassVar[bool] = False
    formats: ClassVar[tuple[type[QuantizedWeight], ...]] = (GridWeight,)
    contract_options: ClassVar[tuple[Mapping[str, object], ...]] = (
        {},
        {"bits": 3, "group": -1},
        {"symmetric": True},
    )
    bits: int = 4
    group: int = 128
    symmetric: bool = False
    scale_dtype: str = "float16"

    def __post_init__(self) -> None:
        check_grid_options(self.method, self.bits, self.group, self.scale_dtype)

    def __call__(self, weight: Tensor, stats: LayerStats | None) -> GridWeight:
        """Quantize one weight (out, in); `stats` is not used."""
        weight = require_matrix(weight, self.method)
        group = weight.shape[1] if self.group == -1 else self.group
        dtype = SCALE_DTYPES[self.scale_dtype]
        fit = functools.partial(
            fit_grid, bits=self.bits, symmetric=self.symmetric, scale_dtype=dtype
        )
        return round_to_grids(
            weight.float(), group, fit, bits=self.bits, symmetric=self.symmetric, scale_dtype=dtype
        )
