"""Uniform grids: scale and zero point from a range, codes from weights, and the packed form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from luq.rounding.packing import pack_bits, unpack_bits
from luq.types import Event, OptionError, QuantizationError

ROUNDER = 1.5 * 2**23
SCALE_DTYPES: dict[str, torch.dtype] = {"float16": torch.float16, "float32": torch.float32}


def check_grid_options(method: str, bits: int, group: int, scale_dtype: str) -> None:
    """Raise OptionError, naming the method, for a grid that the packed format cannot hold."""
    if not 2 <= bits <= 8:
        raise OptionError(f"{method}: bits is {bits}; choose 2 to 8")
    if group != -1 and group < 1:
        raise OptionError(
            f"{method}: group is {group}; give a number of columns, or -1 for the whole row"
        )
    check_scale_dtype(method, scale_dtype)


def check_scale_dtype(method: str, scale_dtype: str) -> None:
    """Raise OptionError, naming the method, unless scales can be stored in this type."""
    if scale_dtype not in SCALE_DTYPES:
        raise OptionError(
            f"{method}: scale_dtype is {scale_dtype!r}; choose one of {', '.join(SCALE_DTYPES)}"
        )


@dataclass(frozen=True)
class Grid:
    """A uniform grid for each row: value = scale · (code - zero).

    Attributes:
        scale: (rows, 1) float32, already rounded to the type in which it is stored.
        zero: (rows, 1) float32 with integer values.
        top: largest code; codes are 0..top.
    """

    scale: Tensor
    zero: Tensor
    top: int

    def codes(self, weight: Tensor, out: Tensor | None = None) -> Tensor:
        """Return the nearest codes of a weight (rows, columns), as float32."""
        # Adding and subtracting 1.5 · 2²³ rounds to even, as torch.round does, but on one thread,
        # which is faster for single columns. Beyond 2²² steps it is inexact; such codes are clamped
        # anyway.
        return (
            torch.div(weight, self.scale, out=out)
            .add_(ROUNDER)
            .sub_(ROUNDER)
            .add_(self.zero)
            .clamp_(0, self.top)
        )

    def value(self, codes: Tensor, out: Tensor | None = None) -> Tensor:
        """Return the values of codes (rows, columns), as float32."""
        return torch.sub(codes, self.zero, out=out).mul_(self.scale)

    def for_columns(self) -> Grid:
        """Return the same grid for single columns, with scale and zero (rows,)."""
        return Grid(self.scale[:, 0], self.zero[:, 0], self.top)


def fit_grid(weight: Tensor, bits: int, *, symmetric: bool, scale_dtype: torch.dtype) -> Grid:
    """Fit a min/max grid to each row; zero is always representable.

    Asymmetric: s = (hi - lo) / (2^b - 1), z = round(-lo / s) with lo <= 0 <= hi. Symmetric: hi =
    max |w| and, where any weight is negative, lo = -hi; z = 2^(b-1). Rows of zeros get the range
    -1..1. Source: the code of GPTQ (Frantar et al., ICLR 2023).

    Args:
        weight: (rows, columns) float32.
        bits: of a code.
        symmetric: whether the zero point is fixed.
        scale_dtype: type in which the scale is stored.

    Raises:
        QuantizationError: A scale does not fit into `scale_dtype`, or all are too small for it.
    """
    low = weight.amin(dim=1, keepdim=True).clamp(max=0)
    high = weight.amax(dim=1, keepdim=True).clamp(min=0)
    if symmetric:
        high = torch.maximum(low.abs(), high)
        low = torch.where(low < 0, -high, low)
    empty = (low == 0) & (high == 0)
    low, high = torch.where(empty, -1.0, low), torch.where(empty, 1.0, high)
    top = 2**bits - 1
    wanted = (high - low) / top
    require_precise(wanted.masked_fill(empty, 0.0), bits, scale_dtype)
    scale = stored_scale(wanted, scale_dtype)
    zero = (
        torch.full_like(scale, float((top + 1) // 2))
        if symmetric
        else torch.round(-low / scale).clamp(0, top)
    )
    return Grid(scale, zero, top)


def stored_scale(scale: Tensor, dtype: torch.dtype) -> Tensor:
    """Return scales as they are read again once they are stored as `dtype`, in float32.

    Below the smallest normal number of the type they are its subnormal numbers, which have fewer
    digits; none becomes zero.

    Raises:
        QuantizationError: A scale does not fit into the type.
    """
    stored = scale.to(dtype).float().clamp(min=_least(dtype))
    if not bool(torch.isfinite(stored).all()):
        raise QuantizationError(
            f"a scale does not fit into {dtype}: the largest is {float(scale.max()):.3g}; use"
            " scale_dtype=float32"
        )
    return stored


def require_precise(scale: Tensor, bits: int, dtype: torch.dtype) -> None:
    """Raise QuantizationError if even the largest scale has too few digits in `dtype`.

    It then moves the largest code by a quarter of a step or more. Where only some scales are that
    small, their weights are too, and the error is small beside that of the others.

    Args:
        scale: of one matrix; 0 where there is nothing to be scaled.
        bits: of a code.
        dtype: type in which scales are stored.
    """
    largest = float(scale.max())
    if 0 < largest < _least(dtype) * 2 ** (bits + 1):
        raise QuantizationError(
            f"scales are too small for {dtype}: the largest is {largest:.3g}; use"
            " scale_dtype=float32"
        )


def _least(dtype: torch.dtype) -> float:
    """The smallest subnormal number of a type."""
    info = torch.finfo(dtype)
    return float(info.smallest_normal * info.eps)


@dataclass(frozen=True)
class GridWeight:
    """A weight as codes on uniform grids.

    Column c uses grid `c // group`, or `group_index[c]` where columns were reordered.

    Attributes:
        out_features: rows of the weight.
        in_features: columns of the weight.
        bits: of a code.
        group: columns that share a grid.
        codes: packed, `bits` bits for each weight.
        scale: (out, groups), float16 or float32.
        zero: packed, `bits` bits for each grid; None for symmetric grids.
        group_index: packed, (in,), as uint16 for more than 256 groups; None unless groups follow
            another order of the columns.
        events: see `luq.types.QuantizedWeight`.
    """

    format: ClassVar[str] = "grid"
    out_features: int
    in_features: int
    bits: int
    group: int
    codes: Tensor
    scale: Tensor
    zero: Tensor | None
    group_index: Tensor | None
    events: tuple[Event, ...] = ()

    @classmethod
    def pack(
        cls,
        codes: Tensor,
        scale: Tensor,
        zero: Tensor | None,
        *,
        bits: int,
        group: int,
        scale_dtype: torch.dtype,
        group_index: Tensor | None = None,
        events: tuple[Event, ...] = (),
    ) -> Self:
        """Pack a weight.

        Args:
            codes: (out, in) integers in 0..2**bits-1, any numeric type.
            scale: (out, groups).
            zero: (out, groups) integers in 0..2**bits-1; None for symmetric grids.
            bits: of a code.
            group: columns that share a grid.
            scale_dtype: type in which the scale is stored.
            group_index: (in,) grid of each column; None for contiguous groups.
            events: see `luq.types.QuantizedWeight`.

        Raises:
            QuantizationError: A code does not fit, or there are too many groups for an index.
        """
        out, inner = codes.shape
        packed_zero = None if zero is None else pack_bits(zero, bits)
        packed_index = None if group_index is None else _pack_index(group_index, scale.shape[1])
        return cls(
            out,
            inner,
            bits,
            group,
            pack_bits(codes, bits),
            scale.to(scale_dtype).cpu(),
            packed_zero,
            packed_index,
            events,
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in) of the weight."""
        return self.out_features, self.in_features

    @property
    def paper_bits(self) -> float:
        """Bits of a code; scales and zero points are not counted."""
        return float(self.bits)

    def tensors(self) -> dict[str, Tensor]:
        """Return the stored tensors by field name."""
        named = {
            "codes": self.codes,
            "scale": self.scale,
            "zero": self.zero,
            "group_index": self.group_index,
        }
        return {name: tensor for name, tensor in named.items() if tensor is not None}

    def header(self) -> dict[str, int]:
        """Return the other stored fields."""
        return {
            "out_features": self.out_features,
            "in_features": self.in_features,
            "bits": self.bits,
            "group": self.group,
        }

    def dequantize(self) -> Tensor:
        """Return the rebuilt weight, (out, in) float32."""
        out, inner = self.shape
        groups = self.scale.shape[1]
        scale = self.scale.float()
        zero = torch.full_like(scale, float(2 ** (self.bits - 1)))
        if self.zero is not None:
            zero = unpack_bits(self.zero, self.bits, out * groups).reshape(out, groups).float()
        # From here in place: these layers are large.
        values = unpack_bits(self.codes, self.bits, out * inner).float()
        if self.group_index is None and inner % self.group == 0:
            values = values.view(out, groups, self.group)
            return values.sub_(zero[..., None]).mul_(scale[..., None]).view(out, inner)
        if self.group_index is None:
            index = torch.arange(inner, device=scale.device) // self.group
        else:
            index = _unpack_index(self.group_index, groups, inner)
        return values.view(out, inner).sub_(zero[:, index]).mul_(scale[:, index])


def round_to_grids(
    weight: Tensor,
    group: int,
    fit: Callable[[Tensor], Grid],
    *,
    bits: int,
    symmetric: bool,
    scale_dtype: torch.dtype,
) -> GridWeight:
    """Round each weight to the nearest code of the grid of its row and group.

    Args:
        weight: (out, in) float32.
        group: columns that share a grid; the last group may have fewer.
        fit: gives the grid of a group (out, columns).
        bits: of a code.
        symmetric: whether the zero points are fixed and not stored.
        scale_dtype: type in which scales are stored.
    """
    parts = weight.split(group, dim=1)
    grids = [fit(part) for part in parts]
    codes = torch.cat([grid.codes(part) for grid, part in zip(grids, parts, strict=True)], dim=1)
    scale, zero = (
        torch.cat([getattr(grid, name) for grid in grids], dim=1) for name in ("scale", "zero")
    )
    return GridWeight.pack(
        codes, scale, None if symmetric else zero, bits=bits, group=group, scale_dtype=scale_dtype
    )


def _pack_index(index: Tensor, groups: int) -> Tensor:
    """Pack the group of each column: as few bits as there are groups, or 16 for more than 256."""
    if groups > 2**16:
        raise QuantizationError(f"{groups} groups a row need more than 16 bits; use larger groups")
    if groups > 2**8:
        return index.to(torch.int32).to(torch.uint16).cpu()
    return pack_bits(index, _index_bits(groups))


def _unpack_index(packed: Tensor, groups: int, columns: int) -> Tensor:
    if groups > 2**8:
        return packed.to(torch.int32).long()
    return unpack_bits(packed, _index_bits(groups), columns).long()


def _index_bits(groups: int) -> int:
    return max(1, (groups - 1).bit_length())
