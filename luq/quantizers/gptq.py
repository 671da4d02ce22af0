"""GPTQ (Frantar et al., ICLR 2023): column by column rounding with second-order error feedback."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from luq.quantizers.column_sweep import column_by_column, inverse_factor, prepare, sweep_blocks
from luq.quantizers.grids import SCALE_DTYPES, Grid, GridWeight, fit_grid
from luq.types import LayerStats, QuantizationError


@dataclass(frozen=True)
class GPTQ:
    """bits: 2 to 8. group: columns that share a grid, -1 for the whole row. act_order: columns by descending H_jj.

    static_groups: grids of contiguous original columns, fixed before the sweep. block: columns between two lazy updates.
    damping: share of the mean diagonal that is added to H.
    """

    method: ClassVar[str] = "gptq"
    needs_stats: ClassVar[bool] = True
    bits: int = 4
    group: int = 128
    symmetric: bool = False
    act_order: bool = False
    static_groups: bool = False
    block: int = 128
    damping: float = 0.01
    scale_dtype: str = "float16"

    def __call__(self, weight: Tensor, stats: LayerStats | None) -> GridWeight:
        original = weight.float()
        weight, hessian, dead = prepare(weight, stats, self.method)
        weight[:, dead] = 0
        columns = weight.shape[1]
        group = columns if self.group == -1 else self.group
        order = torch.argsort(hessian.diagonal(), descending=True, stable=True) if self.act_order else torch.arange(columns)
        factor, events = inverse_factor(hessian[order][:, order], self.damping)
        group_of = _groups_in_sweep_order(order, group, contiguous=self.static_groups)
        grids: dict[int, Grid] = {}
        if self.static_groups:
            grids = {g: self._fit(part) for g, part in enumerate(weight.split(group, dim=1))}
        elif self.group == -1:
            grids = {0: self._fit(original)}  # the published code fits a row's grid before it zeroes dead columns
        codes = torch.empty_like(weight)

        def quantize(current: Tensor, column: Tensor, place: int) -> Tensor:
            number = int(group_of[place])
            if number not in grids:
                grids[number] = self._fit(current[:, place : place + group])
            code = grids[number].codes(column)
            codes[:, place : place + 1] = code
            return grids[number].value(code)

        sweep_blocks(weight[:, order], factor, self.block, column_by_column(quantize))
        inverse = torch.argsort(order)
        reordered = self.act_order and not self.static_groups and len(grids) > 1
        if len(grids) != -(-columns // group):
            raise QuantizationError(f"gptq fitted {len(grids)} grids for {columns} columns in groups of {group}")
        scale = torch.cat([grids[g].scale for g in sorted(grids)], dim=1)
        zero = None if self.symmetric else torch.cat([grids[g].zero for g in sorted(grids)], dim=1)
        return GridWeight.pack(
            codes[:, inverse], scale, zero, bits=self.bits, group=group, scale_dtype=SCALE_DTYPES[self.scale_dtype],
            group_index=group_of[inverse] if reordered else None, events=events,
        )  # fmt: skip

    def _fit(self, weight: Tensor) -> Grid:
        return fit_grid(weight, self.bits, symmetric=self.symmetric, scale_dtype=SCALE_DTYPES[self.scale_dtype])


def _groups_in_sweep_order(order: Tensor, group: int, *, contiguous: bool) -> Tensor:
    """The grid of each place of the sweep: by original column where groups are contiguous, else by place."""
    return (order if contiguous else torch.arange(order.numel())) // group
