"""AWQ (Lin et al., MLSys 2024): activation-aware scales and clips, then rounding.

Scales that favour salient channels move from the weights into the module that comes before.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from luq.decoder.blocks import BlockInput, BlockWeights, batched
from luq.decoder.families import Family, block_linears
from luq.quantizers.awq_search import clip_group, clip_inputs, fold, foldable, search_scale
from luq.quantizers.registry import register
from luq.rounding.error_feedback import require_matrix
from luq.rounding.grids import (
    SCALE_DTYPES,
    Grid,
    GridWeight,
    check_grid_options,
    require_precise,
    round_to_grids,
    stored_scale,
)
from luq.types import LayerStats, QuantizationError, QuantizedWeight

TOKENS = 65536  # 128 sequences of 512, as in the published code
SMALLEST_STEP = 1e-5


@register
@dataclass(frozen=True)
class AWQ:
    """Scale the inputs of each group of linears, clip the weights, and round.

    Attributes:
        bits: 2 to 8.
        group: columns that share a grid, -1 for the whole row. The last group of a row may be
            shorter.
        duo: weigh a channel's activations against its weights, as AutoAWQ does by default. The
            default here is the form of llm-awq: plain rounding is among its candidates, so that the
            output error of a scale group never rises.
        clip: search where to clip each group of weights.
        scale_dtype: type in which scales are stored, float16 or float32.
    """

    method: ClassVar[str] = "awq"
    paper: ClassVar[str] = "Lin et al., MLSys 2024, arXiv 2306.00978"
    needs_stats: ClassVar[bool] = False
    needs_inputs: ClassVar[bool] = True
    formats: ClassVar[tuple[type[QuantizedWeight], ...]] = (GridWeight,)
    contract_options: ClassVar[tuple[Mapping[str, object], ...]] = (
        {},
        {"bits": 3, "duo": True},
        {"bits": 3, "clip": False},
    )
    bits: int = 4
    group: int = 128
    duo: bool = False
    clip: bool = True
    scale_dtype: str = "float16"

    def __post_init__(self) -> None:
        check_grid_options(self.method, self.bits, self.group, self.scale_dtype)

    def __call__(self, weight: Tensor, stats: LayerStats | None) -> GridWeight:
        """Round one weight (out, in) to AWQ's grid, the last step of `quantize_block`."""
        weight = require_matrix(weight, self.method)
        dtype = SCALE_DTYPES[self.scale_dtype]
        return round_to_grids(
            weight.float(),
            self._group(weight),
            self._fit,
            bits=self.bits,
            symmetric=False,
            scale_dtype=dtype,
        )

    @torch.no_grad()
    def quantize_block(
        self, block: nn.Module, family: Family, inputs: Sequence[BlockInput]
    ) -> BlockWeights:
        """Search scales on the untouched block, apply them together, search clips, and round.

        Args:
            block: not changed; the work is done on a copy.
            family: the model's family.
            inputs: the block's calibration inputs; the first TOKENS tokens are used.

        Returns:
            Packed linears, and the norms and biases that take the inverse scales.

        Raises:
            QuantizationError: Names the linear.
        """
        for name, linear in block_linears(block, family).items():
            try:
                require_matrix(linear.weight, self.method)
            except QuantizationError as error:
                raise QuantizationError(f"{name}: {error}") from error
        inputs = batched(_first_tokens(inputs))
        working = self.transformed(block, family, inputs)
        clipped = clip_inputs(working, family, inputs) if self.clip else {}
        linears: dict[str, QuantizedWeight] = {}
        for name, linear in block_linears(working, family).items():
            weight = linear.weight.float()
            if name in clipped:
                weight = self._clipped(weight, clipped[name])
            linears[name] = self(weight, None)
        return BlockWeights(linears, _changed_parameters(block, working, linears))

    @torch.no_grad()
    def transformed(
        self, block: nn.Module, family: Family, inputs: Sequence[BlockInput]
    ) -> nn.Module:
        """Return a copy of the block with the scales folded in.

        It computes the same function, up to rounding of its floating-point type.

        Raises:
            QuantizationError: There are no inputs, or no scale gives a finite output.
        """
        if not inputs:
            raise QuantizationError(
                "awq needs the block's calibration inputs and got none; run the calibration first"
            )
        working = copy.deepcopy(block)
        groups = [group for group in family.scale_groups if foldable(working, group)]
        spread = self._spread if self.duo else None
        scales = [search_scale(working, group, inputs, self._rounded, spread) for group in groups]
        for group, scale in zip(groups, scales, strict=True):
            fold(working, group, scale)
        return working

    def _spread(self, weight: Tensor) -> Tensor:
        """Return the mean over rows of |w| / max |w| of its group, (in,)."""
        parts = [part.abs() for part in weight.split(self._group(weight), dim=1)]
        return torch.cat(
            [part / part.amax(dim=1, keepdim=True).clamp(min=1e-6) for part in parts], dim=1
        ).mean(dim=0)

    def _clipped(self, weight: Tensor, inputs: Tensor) -> Tensor:
        """Clip each group of each row where its output error is least. inputs: (tokens, in)."""
        parts = weight.split(self._group(weight), dim=1)
        seen = inputs.split(self._group(weight), dim=1)
        return torch.cat(
            [clip_group(part, x, self._fit) for part, x in zip(parts, seen, strict=True)], dim=1
        )

    def _rounded(self, weight: Tensor) -> Tensor:
        """Return the values of `self(weight, None)`, unpacked."""
        grids = [(self._fit(part), part) for part in weight.split(self._group(weight), dim=1)]
        return torch.cat([grid.value(grid.codes(part)) for grid, part in grids], dim=1)

    def _group(self, weight: Tensor) -> int:
        return weight.shape[1] if self.group == -1 else self.group

    def _fit(self, weight: Tensor) -> Grid:
        """Fit AWQ's grid to each row, from its smallest to its largest weight.

        Zero need not be representable; the zero point is clamped to the codes.
        """
        low, high = weight.amin(dim=1, keepdim=True), weight.amax(dim=1, keepdim=True)
        top = 2**self.bits - 1
        dtype = SCALE_DTYPES[self.scale_dtype]
        require_precise((high - low) / top, self.bits, dtype)
        scale = stored_scale((high - low).clamp(min=SMALLEST_STEP) / top, dtype)
        return Grid(scale, (-torch.round(low / scale)).clamp(0, top), top)


def _first_tokens(inputs: Sequence[BlockInput]) -> list[BlockInput]:
    """Return the first sequences with TOKENS tokens.

    A linear's inputs and outputs are all in memory at once.
    """
    counts = itertools.accumulate(one.state.shape[1] for one in inputs)
    return [
        one
        for one, count in zip(inputs, counts, strict=True)
        if count - one.state.shape[1] < TOKENS
    ]


def _changed_parameters(
    block: nn.Module, working: nn.Module, linears: Mapping[str, QuantizedWeight]
) -> dict[str, Tensor]:
    """Return the parameters of the working copy, but packed weights, that differ from the block."""
    before = dict(block.named_parameters())
    packed = {f"{name}.weight" for name in linears}
    return {
        name: value.detach().cpu().clone()
        for name, value in working.named_parameters()
        if name not in packed and not torch.equal(value, before[name])
    }
