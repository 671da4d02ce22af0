"""BiLLM (Huang et al., ICML 2024): salient columns in two binary orders, the rest split into two
binary groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from luq.quantizers.billm_search import search_salient_columns, search_split
from luq.rounding.error_feedback import inverse_factor, prepare, sweep_blocks
from luq.rounding.grids import SCALE_DTYPES, check_scale_dtype
from luq.rounding.packing import pack_bits, unpack_bits
from luq.types import Event, LayerStats, OptionError, QuantizationError

GROUPS = 4  # concentrated, sparse, salient first order, salient second order


@dataclass(frozen=True)
class BiLLM:
    """variant:

    `code` searches both the number of salient columns and the split on the saliency, as the
    released code does; `fixed` keeps the saliency for the columns and splits the weights themselves
    at least weight error, with the same storage.

    block: columns binarized at once. salient_limit: one more than the largest number of salient
    columns a block can get.
    """

    method: ClassVar[str] = "billm"
    paper: ClassVar[str] = "Huang et al., ICML 2024, arXiv 2402.04291"
    needs_stats: ClassVar[bool] = True
    variant: str = "code"
    block: int = 128
    salient_limit: int = 50
    damping: float = 0.01
    scale_dtype: str = "float16"

    def __post_init__(self) -> None:
        check_scale_dtype(self.method, self.scale_dtype)
        if self.variant not in ("code", "fixed"):
            raise OptionError(f"billm: variant must be code or fixed, not {self.variant!r}")

    def __call__(self, weight: Tensor, stats: LayerStats | None) -> BinaryWeight:
        weight, stats, dead = prepare(weight, stats, self.method)
        weight[:, dead] = 0
        factor, events = inverse_factor(stats, self.damping, weight.device)
        dtype = SCALE_DTYPES[self.scale_dtype]
        parts: list[_Block] = []

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


def binarize(values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(mean, scale, signs) of the masked entries of each row: x ≈ mean + scale · sign(x - mean).

    values, mask: (..., rows, columns); mean and scale: (..., rows, 1); rows with no masked entry
    get zeros. sign(0) is +1.
    """
    count = mask.sum(dim=-1, keepdim=True).clamp(min=1)
    mean = torch.where(mask, values, 0.0).sum(dim=-1, keepdim=True) / count
    centred = torch.where(mask, values - mean, 0.0)
    return mean, centred.abs().sum(dim=-1, keepdim=True) / count, centred >= 0


@dataclass(frozen=True)
class _Block:
    """One block of columns. salient:

    (columns,); sparse, first, second: (rows, columns) bool; means, scales: (rows, GROUPS).
    """

    salient: Tensor
    sparse: Tensor
    first: Tensor
    second: Tensor
    means: Tensor
    scales: Tensor

    def values(self) -> Tensor:
        """(rows, columns) float32."""
        means, scales = self.means.float(), self.scales.float()

        def signed(signs: Tensor, group: int) -> Tensor:
            scale = scales[:, group : group + 1]
            return means[:, group : group + 1] + torch.where(signs, scale, -scale)

        rest = torch.where(self.sparse, signed(self.first, 1), signed(self.first, 0))
        return torch.where(self.salient, signed(self.first, 2) + signed(self.second, 3), rest)


def _binarize(chunk: Tensor, salient: Tensor, sparse: Tensor, dtype: torch.dtype) -> _Block:
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
    return _Block(
        salient,
        sparse,
        first,
        second & masks[2],
        torch.cat([*means, mean.to(dtype)], dim=1),
        torch.cat([*scales, scale.to(dtype)], dim=1),
    )


@dataclass(frozen=True)
class BinaryWeight:
    """BiLLM's weight, packed. salient: a bit a column; sparse: a bit for every weight outside
    salient columns; first: a sign bit for every weight; second: a sign bit for every weight inside
    salient columns; means, scales: (out, blocks, 4) float16.

    With 128 columns a block these are 3 + 1/out bits a weight, however many columns are salient.
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
    def pack(cls, parts: list[_Block], block: int, events: tuple[Event, ...]) -> BinaryWeight:
        salient = torch.cat([p.salient for p in parts])
        sparse, first, second = (
            torch.cat([getattr(p, name) for p in parts], dim=1)
            for name in ("sparse", "first", "second")
        )
        out, inner = first.shape
        means, scales = (
            torch.stack([p.means for p in parts], dim=1),
            torch.stack([p.scales for p in parts], dim=1),
        )
        if not bool(torch.isfinite(means).all() and torch.isfinite(scales).all()):
            raise QuantizationError(
                f"billm: a mean or scale does not fit into {means.dtype}; use scale_dtype=float32"
            )
        flags = pack_bits(salient, 1), pack_bits(sparse[:, ~salient], 1)
        signs = pack_bits(first, 1), pack_bits(second[:, salient], 1)
        return cls(
            out,
            inner,
            block,
            flags[0],
            flags[1],
            signs[0],
            signs[1],
            means.cpu(),
            scales.cpu(),
            events,
        )

    @property
    def shape(self) -> tuple[int, int]:
        return self.out_features, self.in_features

    @property
    def paper_bits(self) -> float:
        """One bit a weight and one more in salient columns: the paper's N_param, measured; flags,
        means and scales are not in it.
        """
        return 1 + int(unpack_bits(self.salient, 1, self.in_features).sum()) / self.in_features

    def tensors(self) -> dict[str, Tensor]:
        return {
            name: getattr(self, name)
            for name in ("salient", "sparse", "first", "second", "means", "scales")
        }

    def header(self) -> dict[str, Any]:
        return {
            "out_features": self.out_features,
            "in_features": self.in_features,
            "block": self.block,
        }

    def dequantize(self) -> Tensor:
        """(out, in) float32."""
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
            part = _Block(
                salient[span],
                sparse[:, span],
                first[:, span],
                second[:, span],
                self.means[:, i],
                self.scales[:, i],
            )
            values.append(part.values())
        return torch.cat(values, dim=1)
