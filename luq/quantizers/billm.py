"""BiLLM (Huang et al., ICML 2024): salient columns in two binary orders, the rest split into two binary groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from luq.packing import pack_bits, unpack_bits
from luq.quantizers.column_sweep import inverse_factor, prepare, sweep_blocks
from luq.quantizers.grids import SCALE_DTYPES
from luq.types import Event, LayerStats, QuantizationError

GROUPS = 4  # concentrated, sparse, salient first order, salient second order
SPLIT_QUANTILES = tuple(q / 100 for q in range(10, 91))


@dataclass(frozen=True)
class BiLLM:
    """variant: `code` searches both the number of salient columns and the split on the saliency, as the released code does; `fixed` keeps
    the saliency for the columns and splits the weights themselves at least weight error, with the same storage.

    block: columns binarized at once. salient_limit: one more than the largest number of salient columns a block can get.
    """

    method: ClassVar[str] = "billm"
    needs_stats: ClassVar[bool] = True
    variant: str = "code"
    block: int = 128
    salient_limit: int = 50
    damping: float = 0.01
    scale_dtype: str = "float16"

    def __post_init__(self) -> None:
        if self.variant not in ("code", "fixed"):
            raise ValueError(f"billm: variant must be code or fixed, not {self.variant!r}")

    def __call__(self, weight: Tensor, stats: LayerStats | None) -> BinaryWeight:
        weight, hessian, dead = prepare(weight, stats, self.method)
        weight[:, dead] = 0
        factor, events = inverse_factor(hessian, self.damping)
        dtype = SCALE_DTYPES[self.scale_dtype]
        parts: list[_Block] = []

        def quantize(current: Tensor, upper: Tensor, start: int) -> tuple[Tensor, Tensor]:
            chunk = current[:, start : start + upper.shape[0]]
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

    values, mask: (..., rows, columns); mean and scale: (..., rows, 1); rows with no masked entry get zeros. sign(0) is +1.
    """
    count = mask.sum(dim=-1, keepdim=True).clamp(min=1)
    mean = torch.where(mask, values, 0.0).sum(dim=-1, keepdim=True) / count
    centred = torch.where(mask, values - mean, 0.0)
    return mean, centred.abs().sum(dim=-1, keepdim=True) / count, centred >= 0


def search_salient_columns(saliency: Tensor, limit: int) -> Tensor:
    """(columns,) bool: the first i columns by total saliency, i the first minimum over 1..limit-1 of the error on the saliency.

    saliency: (rows, columns). Both parts are binarized to second order, as in the released code.
    """
    order = torch.argsort(saliency.abs().sum(dim=0), descending=True, stable=True)
    counts = torch.arange(1, min(limit, saliency.shape[1]))
    best = int(counts[torch.argmin(column_errors(saliency[:, order], counts))])
    return torch.argsort(order) < best


def column_errors(values: Tensor, counts: Tensor) -> Tensor:
    """Squared error, summed over rows, of binarizing the first i columns and the others apart, each to second order, for every i in
    `counts`: (counts,) float64. values: (rows, columns), the most salient column first. Computed from prefix sums over sorted rows."""
    columns = values.shape[1]
    ordered, ranks = values.double().sort(dim=1)
    squares = values.double().square().cumsum(dim=1)
    whole = torch.zeros(len(values), columns + 1, dtype=torch.float64)
    torch.cumsum(ordered, dim=1, out=whole[:, 1:])
    places = torch.arange(columns + 1, dtype=torch.float64)
    errors = []
    for chunk in counts.split(_chunk(values)):
        chosen = (ranks < chunk[:, None, None]).double()
        number, sums = (torch.zeros(len(chunk), *whole.shape, dtype=torch.float64) for _ in range(2))
        torch.cumsum(chosen, dim=2, out=number[..., 1:])
        torch.cumsum(chosen * ordered, dim=2, out=sums[..., 1:])
        inside = squares[:, chunk - 1].T[..., None]
        error = _second_order_error(ordered, number, sums, inside)
        error += _second_order_error(ordered, places - number, whole - sums, squares[:, -1:] - inside)
        errors.append(error.sum(dim=(1, 2)))
    return torch.cat(errors)


def _second_order_error(ordered: Tensor, number: Tensor, sums: Tensor, squares: Tensor) -> Tensor:
    """Error of binarizing a part of every row twice: (candidates, rows, 1).

    ordered: (rows, columns), sorted; number, sums: (candidates, rows, columns + 1), how many of the part's entries lie before each place
    and what they add up to; squares: (candidates, rows, 1), the part's sum of squares.
    """
    count, total = number[..., -1:], sums[..., -1:]
    divisor = count.clamp(min=1)
    nowhere = torch.zeros(count.shape, dtype=torch.long)
    everywhere = torch.full_like(nowhere, ordered.shape[-1])

    def place_of(centre: Tensor) -> Tensor:
        return torch.searchsorted(ordered, centre[..., 0].T.contiguous()).T[..., None]

    def deviation(centre: Tensor, start: Tensor, end: Tensor) -> Tensor:
        return _absolute_deviation(number, sums, centre, place_of(centre), start, end)

    mean = total / divisor
    scale = deviation(mean, nowhere, everywhere) / divisor
    # Entries below the mean became mean - scale, the others mean + scale; what is left of each is binarized again around its own mean.
    turn = place_of(mean)
    below = number.gather(2, turn)
    rest = -scale * (count - 2 * below) / divisor
    second = (deviation(mean - scale + rest, nowhere, turn) + deviation(mean + scale + rest, turn, everywhere)) / divisor
    return squares - count * (mean.square() + scale.square() + rest.square() + second.square())


def search_split(target: Tensor, salient: Tensor) -> Tensor:
    """(rows, columns) bool: entries of the sparse group, |target| >= p, with p the quantile of least binarization error.

    target: (rows, columns), the saliency or the weight; salient: (columns,) bool, excluded from both groups but, as in the released
    code, counted as zeros by the quantiles.
    """
    magnitude = torch.where(salient, 0.0, target.abs())
    ordered = magnitude.reshape(-1).sort().values
    places = torch.tensor(SPLIT_QUANTILES, dtype=torch.float64) * (ordered.numel() - 1)
    low = places.floor().long()
    thresholds = torch.lerp(ordered[low].double(), ordered[(low + 1).clamp(max=ordered.numel() - 1)].double(), places - low).float()
    best = thresholds[torch.argmin(split_errors(target[:, ~salient], thresholds))]
    return (magnitude >= best) & ~salient


def split_errors(values: Tensor, thresholds: Tensor) -> Tensor:
    """Squared error, summed over rows, of binarizing |v| < p and |v| >= p apart, for every threshold p: (thresholds,) float64.

    values: (rows, columns). In a sorted row the first group is one run of places and the second what lies outside it, so that counts,
    sums and absolute deviations come from prefix sums: nothing is done once for each weight and threshold.
    """
    rows, columns = values.shape
    ordered = values.sort(dim=1).values
    sums = torch.zeros(rows, columns + 1, dtype=torch.float64)
    torch.cumsum(ordered, dim=1, dtype=torch.float64, out=sums[:, 1:])
    bound = thresholds.to(ordered).expand(rows, -1).contiguous()
    first = torch.searchsorted(ordered, -bound, right=True)
    last = torch.maximum(torch.searchsorted(ordered, bound), first)

    number = torch.arange(columns + 1, dtype=torch.float64).expand(rows, -1)

    def deviation(mean: Tensor, start: Tensor, end: Tensor) -> Tensor:
        return _absolute_deviation(number, sums, mean, torch.searchsorted(ordered.double(), mean), start, end)

    inside = last - first
    inside_sum = sums.gather(1, last) - sums.gather(1, first)
    nowhere, everywhere = torch.zeros_like(first), torch.full_like(first, columns)
    total = values.double().square().sum()
    explained = torch.zeros(len(thresholds), dtype=torch.float64)
    for count, group_sum, outside in ((inside, inside_sum, False), (columns - inside, sums[:, -1:] - inside_sum, True)):
        mean = group_sum / count.clamp(min=1)
        spread = deviation(mean, first, last)
        if outside:
            spread = deviation(mean, nowhere, everywhere) - spread
        # Σ (v - μ)² - c α² with α = Σ |v - μ| / c; the squares of both groups add up to those of the row
        explained += (count * mean.square() + spread.square() / count.clamp(min=1)).sum(dim=0)
    return total - explained


def _absolute_deviation(number: Tensor, sums: Tensor, centre: Tensor, place: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Σ |v - centre| over the entries at the places start..end-1 of sorted rows.

    number, sums: (..., columns + 1), how many entries lie before each place and what they add up to; place: where `centre` belongs;
    centre, place, start, end: one for each query, along the last dimension.
    """
    middle = torch.minimum(torch.maximum(place, start), end)
    (n0, n1, n2), (s0, s1, s2) = ([table.gather(-1, p) for p in (start, middle, end)] for table in (number, sums))
    return centre * (n1 - n0) - (s1 - s0) + (s2 - s1) - centre * (n2 - n1)


def _chunk(values: Tensor, budget: int = 2**18) -> int:
    """How many candidates are tried in one tensor operation: about what stays in a core's cache."""
    return max(1, budget // values.numel())


@dataclass(frozen=True)
class _Block:
    """One block of columns. salient: (columns,); sparse, first, second: (rows, columns) bool; means, scales: (rows, GROUPS)."""

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
    residual = chunk - (means[2].float() + torch.where(first, scales[2].float(), -scales[2].float()))
    mean, scale, second = binarize(residual, masks[2])
    return _Block(
        salient, sparse, first, second & masks[2], torch.cat([*means, mean.to(dtype)], dim=1), torch.cat([*scales, scale.to(dtype)], dim=1)
    )


@dataclass(frozen=True)
class BinaryWeight:
    """BiLLM's weight, packed. salient: a bit a column; sparse: a bit for every weight outside salient columns; first: a sign bit for every
    weight; second: a sign bit for every weight inside salient columns; means, scales: (out, blocks, 4) float16.

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
        sparse, first, second = (torch.cat([getattr(p, name) for p in parts], dim=1) for name in ("sparse", "first", "second"))
        out, inner = first.shape
        means, scales = torch.stack([p.means for p in parts], dim=1), torch.stack([p.scales for p in parts], dim=1)
        if not bool(torch.isfinite(means).all() and torch.isfinite(scales).all()):
            raise QuantizationError(f"billm: a mean or scale does not fit into {means.dtype}; use scale_dtype=float32")
        flags = pack_bits(salient, 1), pack_bits(sparse[:, ~salient], 1)
        signs = pack_bits(first, 1), pack_bits(second[:, salient], 1)
        return cls(out, inner, block, flags[0], flags[1], signs[0], signs[1], means.cpu(), scales.cpu(), events)

    @property
    def shape(self) -> tuple[int, int]:
        return self.out_features, self.in_features

    @property
    def paper_bits(self) -> float:
        """One bit a weight and one more in salient columns: the paper's N_param, measured; flags, means and scales are not in it."""
        return 1 + int(unpack_bits(self.salient, 1, self.in_features).sum()) / self.in_features

    def tensors(self) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in ("salient", "sparse", "first", "second", "means", "scales")}

    def header(self) -> dict[str, Any]:
        return {"out_features": self.out_features, "in_features": self.in_features, "block": self.block}

    def dequantize(self) -> Tensor:
        """(out, in) float32."""
        out, inner = self.shape
        salient = unpack_bits(self.salient, 1, inner).bool()
        count = int(salient.sum())
        first = unpack_bits(self.first, 1, out * inner).reshape(out, inner).bool()
        sparse, second = torch.zeros_like(first), torch.zeros_like(first)
        sparse[:, ~salient] = unpack_bits(self.sparse, 1, out * (inner - count)).reshape(out, -1).bool()
        second[:, salient] = unpack_bits(self.second, 1, out * count).reshape(out, -1).bool()
        values = []
        for i, start in enumerate(range(0, inner, self.block)):
            span = slice(start, min(start + self.block, inner))
            part = _Block(salient[span], sparse[:, span], first[:, span], second[:, span], self.means[:, i], self.scales[:, i])
            values.append(part.values())
        return torch.cat(values, dim=1)
