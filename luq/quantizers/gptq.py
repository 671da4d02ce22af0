"""GPTQ (Frantar et al., ICLR 2023): column by column rounding with second-order error feedback."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from luq.decoder.blocks import BlockInput, BlockWeights
from luq.decoder.families import Family
from luq.quantizers.true_sequential import quantize_in_turn
from luq.rounding.error_feedback import (
    activation_order,
    column_by_column,
    inverse_factor,
    prepare,
    sweep_blocks,
)
from luq.rounding.grids import SCALE_DTYPES, Grid, GridWeight, check_grid_options, fit_grid
from luq.types import LayerStats, QuantizationError


@dataclass(frozen=True)
class GPTQ:
    """bits: 2 to 8. group: columns that share a grid, -1 for the whole row. act_order: columns by
    descending H_jj.

    static_groups: grids of contiguous original columns, fixed before the sweep. block: columns
    between two lazy updates. damping: share of the mean diagonal that is added to H.
    true_sequential: inside a block, q/k/v are quantized first, then o on the inputs that the
    quantized q/k/v give it, then gate and up, then down.
    """

    method: ClassVar[str] = "gptq"
    paper: ClassVar[str] = "Frantar et al., ICLR 2023, arXiv 2210.17323"
    needs_stats: ClassVar[bool] = True
    bits: int = 4
    group: int = 128
    symmetric: bool = False
    act_order: bool = False
    static_groups: bool = False
    block: int = 128
    damping: float = 0.01
    true_sequential: bool = False
    scale_dtype: str = "float16"

    def __post_init__(self) -> None:
        check_grid_options(self.method, self.bits, self.group, self.scale_dtype)

    @property
    def needs_inputs(self) -> bool:
        return self.true_sequential

    def __call__(self, weight: Tensor, stats: LayerStats | None) -> GridWeight:
        original = weight.float()
        weight, stats, dead = prepare(weight, stats, self.method)
        weight[:, dead] = 0
        columns = weight.shape[1]
        group = columns if self.group == -1 else self.group
        order = (
            activation_order(stats.hessian).to(weight.device)
            if self.act_order
            else torch.arange(columns, device=weight.device)
        )
        factor, events = inverse_factor(
            stats, self.damping, weight.device, act_order=self.act_order
        )
        group_of = _groups_in_sweep_order(order, group, contiguous=self.static_groups)
        grids: dict[int, Grid] = {}
        flat: dict[int, Grid] = {}
        if self.static_groups:
            grids = {g: self._fit(part) for g, part in enumerate(weight.split(group, dim=1))}
        elif self.group == -1:
            grids = {
                0: self._fit(original)
            }  # the published code fits a row's grid before it zeroes dead columns
        codes = weight.new_empty(columns, len(weight))
        numbers = group_of.tolist()

        def quantize(current: Tensor, column: Tensor, place: int, value: Tensor) -> None:
            number = numbers[place]
            if number not in grids:
                grids[number] = self._fit(current[:, place : place + group])
            if number not in flat:
                flat[number] = grids[number].for_columns()
            grid = flat[number]
            grid.value(grid.codes(column, out=codes[place]), out=value)

        sweep_blocks(
            weight[:, order] if self.act_order else weight,
            factor,
            self.block,
            column_by_column(quantize),
        )
        codes, inverse = codes.to(torch.uint8), torch.argsort(order)
        reordered = self.act_order and not self.static_groups and len(grids) > 1
        if len(grids) != -(-columns // group):
            raise QuantizationError(
                f"gptq fitted {len(grids)} grids for {columns} columns in groups of {group}"
            )
        scale = torch.cat([grids[g].scale for g in sorted(grids)], dim=1)
        zero = None if self.symmetric else torch.cat([grids[g].zero for g in sorted(grids)], dim=1)
        return GridWeight.pack(
            (codes[inverse] if self.act_order else codes).T,
            scale,
            zero,
            bits=self.bits,
            group=group,
            scale_dtype=SCALE_DTYPES[self.scale_dtype],
            group_index=group_of[inverse] if reordered else None,
            events=events,
        )

    def quantize_block(
        self, block: nn.Module, family: Family, inputs: Sequence[BlockInput]
    ) -> BlockWeights:
        """True-sequential: each group of linears with a common input sees what the groups before it
        became.
        """
        return quantize_in_turn(self, block, family, inputs)

    def _fit(self, weight: Tensor) -> Grid:
        return fit_grid(
            weight, self.bits, symmetric=self.symmetric, scale_dtype=SCALE_DTYPES[self.scale_dtype]
        )


def _groups_in_sweep_order(order: Tensor, group: int, *, contiguous: bool) -> Tensor:
    """The grid of each place of the sweep: by original column where groups are contiguous, else by
    place.
    """
    return (order if contiguous else torch.arange(order.numel(), device=order.device)) // group
