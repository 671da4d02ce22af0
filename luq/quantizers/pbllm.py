"""PB-LLM (Shang et al., ICLR 2024) in its GPTQ variant.

The most salient weights have 8 bits, all others are binary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from luq.options import Positive, Share
from luq.quantizers.registry import register
from luq.rounding.error_feedback import column_by_column, inverse_factor, prepare, sweep_blocks
from luq.rounding.grids import SCALE_DTYPES, Grid, check_scale_dtype, fit_grid
from luq.rounding.packing import pack_bits, unpack_bits
from luq.types import Event, LayerStats, OptionError, QuantizedWeight

HIGH_BITS = 8


@dataclass(frozen=True)
class PartialWeight:
    """A weight of binary and 8-bit entries.

    Attributes:
        out_features: rows of the weight.
        in_features: columns of the weight.
        low: packed, a bit for each weight: 1 where it is binary.
        signs: packed, a bit for each binary weight.
        codes: packed, 8 bits for each other weight.
        mean: (out, 1), of the binary weights.
        scale: (out, 1), of the binary weights.
        step: (out, 1), scale of the 8-bit grid.
        zero: (out, 1) uint8, zero point of the 8-bit grid.
        events: see `luq.types.QuantizedWeight`.
    """

    format: ClassVar[str] = "partial"
    out_features: int
    in_features: int
    low: Tensor
    signs: Tensor
    codes: Tensor
    mean: Tensor
    scale: Tensor
    step: Tensor
    zero: Tensor
    events: tuple[Event, ...] = ()

    @classmethod
    def pack(
        cls,
        low: Tensor,
        signs: Tensor,
        codes: Tensor,
        mean: Tensor,
        scale: Tensor,
        grid: Grid,
        *,
        dtype: torch.dtype,
        events: tuple[Event, ...],
    ) -> PartialWeight:
        """Pack a weight.

        Args:
            low: (out, in) bool, where the weight is binary.
            signs: (out, in) bool, read where it is binary.
            codes: (out, in) integers, read where it is not.
            mean: (out, 1), of the binary weights.
            scale: (out, 1), of the binary weights.
            grid: of the other weights.
            dtype: type in which means and scales are stored.
            events: see `luq.types.QuantizedWeight`.
        """
        out, inner = low.shape
        mean, scale, step = (t.to(dtype).cpu() for t in (mean, scale, grid.scale))
        return cls(
            out_features=out,
            in_features=inner,
            low=pack_bits(low, 1),
            signs=pack_bits(signs[low], 1),
            codes=pack_bits(codes[~low], HIGH_BITS),
            mean=mean,
            scale=scale,
            step=step,
            zero=grid.zero.to(torch.uint8).cpu(),
            events=events,
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in) of the weight."""
        return self.out_features, self.in_features

    @property
    def paper_bits(self) -> float:
        """One bit for a binary weight, eight for a salient one; the map of which is not counted."""
        share = self.codes.numel() / (self.out_features * self.in_features)
        return (1 - share) + HIGH_BITS * share

    def tensors(self) -> dict[str, Tensor]:
        """Return the stored tensors by field name."""
        names = ("low", "signs", "codes", "mean", "scale", "step", "zero")
        return {name: getattr(self, name) for name in names}

    def header(self) -> dict[str, int]:
        """Return the other stored fields."""
        return {"out_features": self.out_features, "in_features": self.in_features}

    def dequantize(self) -> Tensor:
        """Return the rebuilt weight, (out, in) float32."""
        out, inner = self.shape
        low = unpack_bits(self.low, 1, out * inner).reshape(out, inner).bool()
        salient = out * inner - int(low.sum())
        scale, mean = self.scale.float(), self.mean.float()
        signs, codes = torch.zeros_like(low), torch.zeros_like(low, dtype=torch.float32)
        signs[low] = unpack_bits(self.signs, 1, out * inner - salient).bool()
        codes[~low] = unpack_bits(self.codes, HIGH_BITS, salient).float()
        return torch.where(
            low,
            mean + torch.where(signs, scale, -scale),
            self.step.float() * (codes - self.zero.float()),
        )


@register
@dataclass(frozen=True)
class PBLLM:
    """Store the most salient weights at 8 bits and the others as a sign, with error feedback.

    Mean and scale of the binary weights are taken over the whole row with the salient weights as
    zeros, as in the published code: the scale is too low by about the salient share.

    Attributes:
        salient: share of the weights that have 8 bits.
        block: columns between two lazy updates.
        damping: share of the mean diagonal that is added to H.
        scale_dtype: type in which means and scales are stored, float16 or float32.
    """

    method: ClassVar[str] = "pbllm"
    paper: ClassVar[str] = "Shang et al., ICLR 2024, arXiv 2310.00034"
    needs_stats: ClassVar[bool] = True
    formats: ClassVar[tuple[type[QuantizedWeight], ...]] = (PartialWeight,)
    salient: float = 0.1
    block: Positive = 128
    damping: Share = 0.01
    scale_dtype: str = "float16"

    def __post_init__(self) -> None:
        check_scale_dtype(self.method, self.scale_dtype)
        if not 0 < self.salient < 1:
            raise OptionError(
                f"pbllm: salient is {self.salient}; it is a share of the weights, above 0 and"
                " below 1"
            )

    def __call__(self, weight: Tensor, stats: LayerStats | None) -> PartialWeight:
        """Quantize one weight (out, in) with the Hessian of its inputs."""
        original = weight.detach().float()
        weight, stats, dead = prepare(weight, stats, self.method)
        dtype = SCALE_DTYPES[self.scale_dtype]
        grid = fit_grid(original, HIGH_BITS, symmetric=False, scale_dtype=dtype)
        weight[:, dead] = 0
        factor, events = inverse_factor(stats, self.damping, weight.device)
        low = self._low(weight, factor)
        binary = torch.where(low, weight, 0.0)
        mean = binary.mean(dim=1, keepdim=True).to(dtype).float()
        scale = (binary - mean).abs().mean(dim=1, keepdim=True).to(dtype).float()
        signs, codes = (t.new_zeros(t.shape[::-1]) for t in (low, weight))
        row_mean, row_scale, row_grid = mean[:, 0], scale[:, 0], grid.for_columns()
        low_columns = low.T.contiguous()

        def quantize(_current: Tensor, column: Tensor, place: int, value: Tensor) -> None:
            signs[place] = column - row_mean >= 0
            row_grid.codes(column, out=codes[place])
            binary = row_mean + torch.where(signs[place], row_scale, -row_scale)
            torch.where(low_columns[place], binary, row_grid.value(codes[place]), out=value)

        sweep_blocks(weight, factor, self.block, column_by_column(quantize))
        return PartialWeight.pack(
            low, signs.T, codes.to(torch.uint8).T, mean, scale, grid, dtype=dtype, events=events
        )

    def _low(self, weight: Tensor, factor: Tensor) -> Tensor:
        """Return where weights are binary, (out, in) bool: those of least w² / U_jj²."""
        saliency = weight.square() / factor.diagonal().square()
        threshold = saliency.reshape(-1).sort().values[int(saliency.numel() * (1 - self.salient))]
        return saliency <= threshold
