"""BiLLM (Huang et al., ICML 2024): binary weights with salient columns in two orders.

All other weights are split into two binary groups by magnitude.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from luq.options import Positive, Share
from luq.quantizers.billm_search import search_salient_columns, search_split
from luq.quantizers.registry import register
from luq.rounding.error_feedback import inverse_factor, prepare, sweep_blocks
from luq.rounding.grids import SCALE_DTYPES, check_scale_dtype, require_precise
from luq.rounding.packing import pack_bits, unpack_bits
from luq.types import Event, LayerStats, OptionError, QuantizationError, QuantizedWeight

GROUPS = 4  # concentrated, sparse, salient first order, salient second order
MAGNITUDE_BITS = 5  # by which the largest weight may exceed a scale, with digits to spare


def binarize(values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Approximate the masked entries of each row by mean + scale · sign(x - mean).

    Args:
        values: (..., rows, columns).
        mask: (..., rows, columns) bool.

    Returns:
        Mean and scale (..., rows, 1), zeros for rows with no masked entry; signs (..., rows,
        columns) bool, sign(0) is +1.
    """
    count = mask.sum(dim=-1, keepdim=True).clamp(min=1)
    mean = torch.where(mask, values, 0.0).sum(dim=-1, keepdim=True) / count
    centred = torch.where(mask, values - mean, 0.0)
    return mean, centred.abs().sum(dim=-1, keepdim=True) / count, centred >= 0


@dataclass(frozen=True)
class _ColumnBlock:
    """One block of columns.

    Attributes:
        salient: (columns,) bool.
        sparse: (rows, columns) bool, the group of larger magnitudes outside salient columns.
        first: (rows, columns) bool, signs of first order.
        second: (rows, columns) bool, signs of second order in salient columns.
        means: (rows, GROUPS).
        scales: (rows, GROUPS).
    """

    salient: Tensor
    sparse: Tensor
    first: Tensor
    second: Tensor
    means: Tensor
    scales: Tensor

    def values(self) -> Tensor:
        """Return the values, (rows, columns) float32."""
        means, scales = self.means.float(), self.scales.float()

        def signed(signs: Tensor, group: int) -> Tensor:
            scale = scales[:, group : group + 1]
            return means[:, group : group + 1] + torch.where(signs, scale, -scale)

        rest = torch.where(self.sparse, signed(self.first, 1), signed(self.first, 0))
        return torch.where(self.salient, signed(self.first, 2) + signed(self.second, 3), rest)


def _binarize(chunk: Tensor, salient: Tensor, sparse: Tensor, dtype: torch.dtype) -> _ColumnBlock:
    masks = [~sparse & ~salient, sparse, salient.expand_as(chunk)]
    fitted = [binarize(chunk, mask) for mask in masks]
    means, scales = [f[0].to(dtype) for f in fitted], [f[1].to(dtype) for f in fitted]
    first = torch.zeros_like(sparse)
    for mask, (_, _, signs) in zip(masks, fitted, strict=True):
        first |= mask & signs
    residual = chunk - (
        means[2].float() + torch.where(first, scales[2].float(), -scales[2].float())
    )
    mean, scale, second = binarize(residual, masks[2])
    return _ColumnBlock(
        salient,
        sparse,
        first,
        second & masks[2],
        torch.cat([*means, mean.to(dtype)], dim=1),
        torch.cat([*scales, scale.to(dtype)], dim=1),
    )


@dataclass(frozen=True)
class BinaryWeight:
    """BiLLM's weight.

    With 128 columns in a block these are 3 + 1/out bits per weight, however many are salient.

    Attributes:
        out_features: rows of the weight.
        in_features: columns of the weight.
        block: columns binarized at once.
        salient: packed, a bit for each column.
        sparse: packed, a bit for each weight outside salient columns.
        first: packed, a sign bit for each weight.
        second: packed, a sign bit for each weight in salient columns.
        means: (out, blocks, GROUPS), float16 or float32.
        scales: (out, blocks, GROUPS), float16 or float32.
        events: see `luq.types.QuantizedWeight`.
    """

    format: ClassVar[str] = "binary"
    out_features: int
    in_features: int
    block: int
    salient: Tensor
    sparse: Tensor
    first: Tensor
    second: Tensor
    means: Tensor
    scales: Tensor
    events: tuple[Event, ...] = ()

    @classmethod
    def pack(cls, parts: list[_ColumnBlock], block: int, events: tuple[Event, ...]) -> BinaryWeight:
        """Pack the blocks of a weight, from left to right.

        Raises:
            QuantizationError: A mean or scale does not fit into its type.
        """
        salient = torch.cat([p.salient for p in parts])
        sparse, first, second = (
            torch.cat([getattr(p, name) for p in parts], dim=1)
            for name in ("sparse", "first", "second")
        )
        means, scales = (
            torch.stack([getattr(p, name) for p in parts], dim=1) for name in ("means", "scales")
        )
        if not bool(torch.isfinite(means).all() and torch.isfinite(scales).all()):
            raise QuantizationError(
                f"billm: a mean or scale does not fit into {means.dtype}; use scale_dtype=float32"
            )
        out, inner = first.shape
        return cls(
            out_features=out,
            in_features=inner,
            block=block,
            salient=pack_bits(salient, 1),
            sparse=pack_bits(sparse[:, ~salient], 1),
            first=pack_bits(first, 1),
            second=pack_bits(second[:, salient], 1),
            means=means.cpu(),
            scales=scales.cpu(),
            events=events,
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in) of the weight."""
        return self.out_features, self.in_features

    @property
    def paper_bits(self) -> float:
        """The paper's N_param, measured: one bit for a weight, one more in salient columns.

        Flags, means and scales are not counted.
        """
        return 1 + int(unpack_bits(self.salient, 1, self.in_features).sum()) / self.in_features

    def tensors(self) -> dict[str, Tensor]:
        """Return the stored tensors by field name."""
        names = ("salient", "sparse", "first", "second", "means", "scales")
        return {name: getattr(self, name) for name in names}

    def header(self) -> dict[str, int]:
        """Return the other stored fields."""
        return {
            "out_features": self.out_features,
            "in_features": self.in_features,
            "block": self.block,
        }

    def dequantize(self) -> Tensor:
        """Return the rebuilt weight, (out, in) float32."""
        out, inner = self.shape
        salient = unpack_bits(self.salient, 1, inner).bool()
        count = int(salient.sum())
        first = unpack_bits(self.first, 1, out * inner).reshape(out, inner).bool()
        sparse, second = torch.zeros_like(first), torch.zeros_like(first)
        sparse[:, ~salient] = (
            unpack_bits(self.sparse, 1, out * (inner - count)).reshape(out, -1).bool()
        )
        second[:, salient] = unpack_bits(self.second, 1, out * count).reshape(out, -1).bool()
        values = []
        for i, start in enumerate(range(0, inner, self.block)):
            span = slice(start, min(start + self.block, inner))
            part = _ColumnBlock(
                salient[span],
                sparse[:, span],
                first[:, span],
                second[:, span],
                self.means[:, i],
                self.scales[:, i],
            )
            values.append(part.values())
        return torch.cat(values, dim=1)


@register
@dataclass(frozen=True)
class BiLLM:
    """Binarize blocks of columns, with error feedback between blocks.

    Attributes:
        variant: `code` searches the number of salient columns and the split on the saliency, as the
            published code does. `fixed` uses the saliency for the columns and splits the weights
            themselves where the error of the weight is least, at the same storage.
        block: columns binarized at once.
        salient_limit: one more than the largest number of salient columns in a block.
        damping: share of the mean diagonal that is added to H.
        scale_dtype: type in which means and scales are stored, float16 or float32.
    """

    method: ClassVar[str] = "billm"
    paper: ClassVar[str] = "Huang et al., ICML 2024, arXiv 2402.04291"
    needs_stats: ClassVar[bool] = True
    formats: ClassVar[tuple[type[QuantizedWeight], ...]] = (BinaryWeight,)
    contract_options: ClassVar[tuple[Mapping[str, object], ...]] = ({}, {"variant": "fixed"})
    variant: str = "code"
    block: Positive = 128
    salient_limit: Annotated[int, Field(ge=2)] = 50
    damping: Share = 0.01
    scale_dtype: str = "float16"

    def __post_init__(self) -> None:
        check_scale_dtype(self.method, self.scale_dtype)
        if self.variant not in ("code", "fixed"):
            raise OptionError(f"billm: variant must be code or fixed, not {self.variant!r}")

    def __call__(self, weight: Tensor, stats: LayerStats | None) -> BinaryWeight:
        """Quantize one weight (out, in) with the Hessian of its inputs."""
        weight, stats, dead = prepare(weight, stats, self.method)
        weight[:, dead] = 0
        factor, events = inverse_factor(stats, self.damping, weight.device)
        dtype = SCALE_DTYPES[self.scale_dtype]
        require_precise(weight.abs(), MAGNITUDE_BITS, dtype)
        parts: list[_ColumnBlock] = []

        def quantize(current: Tensor, upper: Tensor, start: int) -> tuple[Tensor, Tensor]:
            chunk = current[:, start : start + upper.shape[0]].contiguous()
            diagonal = upper.diagonal()
            saliency = chunk.square() / diagonal.square()
            salient = search_salient_columns(saliency, self.salient_limit)
            target = saliency if self.variant == "code" else chunk
            sparse = search_split(target, salient)
            block = _binarize(chunk, salient, sparse, dtype)
            parts.append(block)
            values = block.values()
            return values, (chunk - values) / diagonal

        sweep_blocks(weight, factor, self.block, quantize)
        return BinaryWeight.pack(parts, self.block, events)
