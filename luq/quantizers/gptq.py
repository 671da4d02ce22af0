"""GPTQ (Frantar et al., ICLR 2023): column by column rounding with second-order error feedback."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from luq.decoder.blocks import BlockInput, BlockWeights
from luq.decoder.families import Family
from luq.options import Positive, Share
from luq.quantizers.registry import register
from luq.quantizers.true_sequential import quantize_true_sequential
from luq.rounding.error_feedback import (
    activation_order,
    column_by_column,
    inverse_factor,
    prepare,
    sweep_blocks,
)
from luq.rounding.grids import SCALE_DTYPES, Grid, GridWeight, check_grid_options, fit_grid
from luq.types import Event, LayerStats, QuantizationError, QuantizedWeight


@register
@dataclass(frozen=True)
class GPTQ:
    """Round column by column, and correct the columns on the right for each column's error.

    Attributes:
        bits: 2 to 8.
        group: columns that share a grid, -1 for the whole row.
        symmetric: whether grids are symmetric around zero and store no zero point.
        act_order: quantize columns by descending H_jj.
        static_groups: fix the grids of contiguous original columns before the sweep.
        block: columns between two lazy updates.
        damping: share of the mean diagonal that is added to H.
        true_sequential: inside a block, calibrate each group of linears with a common input (q, k,
            v; o; gate, up; down) after the groups before it are quantized.
        scale_dtype: type in which scales are stored, float16 or float32.
    """

    method: ClassVar[str] = "gptq"
    paper: ClassVar[str] = "Frantar et al., ICLR 2023, arXiv 2210.17323"
    needs_stats: ClassVar[bool] = True
    formats: ClassVar[tuple[type[QuantizedWeight], ...]] = (GridWeight,)
    contract_options: ClassVar[tuple[Mapping[str, object], ...]] = (
        {},
        {"bits": 3},
        {"bits": 2},
        {"bits": 8},
        {"symmetric": True},
        {"bits": 3, "act_order": True},
        {"bits": 3, "act_order": True, "static_groups": True},
        {"bits": 3, "group": 64},
        {"bits": 3, "true_sequential": True},
    )
    bits: int = 4
    group: int = 128
    symmetric: bool = False
    act_order: bool = False
    static_groups: bool = False
    block: Positive = 128
    damping: Share = 0.01
    true_sequential: bool = False
    scale_dtype: str = "float16"

    def __post_init__(self) -> None:
        check_grid_options(self.method, self.bits, self.group, self.scale_dtype)

    @property
    def needs_inputs(self) -> bool:
        """Whether the method needs a whole block with its inputs."""
        return self.true_sequential

    def __call__(self, weight: Tensor, stats: LayerStats | None) -> GridWeight:
        """Quantize one weight (out, in) with the Hessian of its inputs."""
        original = weight.detach().float()
        weight, stats, dead = prepare(weight, stats, self.method)
        weight[:, dead] = 0
        columns = weight.shape[1]
        group = columns if self.group == -1 else self.group
        natural = torch.arange(columns, device=weight.device)
        order = activation_order(stats.hessian).to(weight.device) if self.act_order else natural
        factor, events = inverse_factor(
            stats, self.damping, weight.device, act_order=self.act_order
        )
        # The grid of each place in the sweep: by original column where groups are contiguous.
        group_of = (order if self.static_groups else natural) // group
        grids: dict[int, Grid] = {}
        if self.static_groups:
            grids = {g: self._fit(part) for g, part in enumerate(weight.split(group, dim=1))}
        elif self.group == -1:
            # As in the published code, before dead columns are zeroed.
            grids = {0: self._fit(original)}
        ordered = weight[:, order] if self.act_order else weight
        codes = self._sweep(ordered, factor, group, group_of.tolist(), grids)
        if len(grids) != -(-columns // group):
            raise QuantizationError(
                f"gptq fitted {len(grids)} grids for {columns} columns in groups of {group}"
            )
        return self._packed(codes, order, group_of, group, grids, events)

    def quantize_block(
        self, block: nn.Module, family: Family, inputs: Sequence[BlockInput]
    ) -> BlockWeights:
        """Quantize a block with `true_sequential`. See `luq.decoder.blocks.BlockQuantizer`."""
        return quantize_true_sequential(self, block, family, inputs)

    def _sweep(
        self,
        weight: Tensor,
        factor: Tensor,
        group: int,
        group_of: list[int],
        grids: dict[int, Grid],
    ) -> Tensor:
        """Quantize all columns and return their codes (in, out).

        A grid that is missing is fitted when the sweep reaches its first column, and added.
        """
        codes = weight.new_empty(weight.shape[1], len(weight))
        flat: dict[int, Grid] = {}

        def quantize(current: Tensor, column: Tensor, place: int, value: Tensor) -> None:
            number = group_of[place]
            if number not in grids:
                grids[number] = self._fit(current[:, place : place + group])
            if number not in flat:
                flat[number] = grids[number].for_columns()
            grid = flat[number]
            grid.value(grid.codes(column, out=codes[place]), out=value)

        sweep_blocks(weight, factor, self.block, column_by_column(quantize))
        return codes.to(torch.uint8)

    def _packed(
        self,
        codes: Tensor,
        order: Tensor,
        group_of: Tensor,
        group: int,
        grids: dict[int, Grid],
        events: tuple[Event, ...],
    ) -> GridWeight:
        inverse = torch.argsort(order)
        reordered = self.act_order and not self.static_groups and len(grids) > 1
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

    def _fit(self, weight: Tensor) -> Grid:
        return fit_grid(
            weight, self.bits, symmetric=self.symmetric, scale_dtype=SCALE_DTYPES[self.scale_dtype]
        )
