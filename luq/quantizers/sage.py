"""SAGE-PTQ (arXiv 2606.05429), a reconstruction: no code was published.

Weights far from the mean have a few bits with one scale for each row. The others have a sign and
one of a few magnitudes. Where the paper leaves a choice, an option names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from scipy.optimize import minimize_scalar
from torch import Tensor

from luq.options import Positive, Share
from luq.quantizers.registry import register
from luq.quantizers.sage_groups import lloyd, magnitude_groups
from luq.quantizers.sage_weight import GroupedWeight, largest_code
from luq.rounding.error_feedback import (
    column_by_column,
    inverse_factor,
    prepare,
    require_matrix,
    sweep_blocks,
)
from luq.rounding.grids import (
    SCALE_DTYPES,
    check_scale_dtype,
    require_precise,
    stored_scale,
)
from luq.types import Event, LayerStats, OptionError, QuantizationError, QuantizedWeight


@dataclass(frozen=True)
class _Fit:
    """A quantized weight before it is packed.

    Attributes:
        signs: (out, in) bool.
        salient: (out, in) bool.
        ids: (out, in), group of each weight.
        codes: (out, in), -top..top.
        centroids: (groups,), rounded to what is stored.
        step: (out, 1), rounded to what is stored.
        top: largest code.
    """

    signs: Tensor
    salient: Tensor
    ids: Tensor
    codes: Tensor
    centroids: Tensor
    step: Tensor
    top: int

    def values(self) -> Tensor:
        """Return the quantized weight, (out, in) float32."""
        magnitudes = self.centroids[self.ids]
        return torch.where(
            self.salient, self.codes * self.step, torch.where(self.signs, magnitudes, -magnitudes)
        )

    def swept(self, weight: Tensor, factor: Tensor, block: int) -> _Fit:
        """Choose codes, groups and signs again, column by column under error feedback.

        Masks, centroids and steps stay.
        """
        signs, ids, codes = (t.new_empty(t.shape[::-1]) for t in (self.signs, self.ids, self.codes))
        salient, step = self.salient.T.contiguous(), self.step[:, 0]
        middles = (self.centroids[1:] + self.centroids[:-1]) / 2

        def quantize(_current: Tensor, column: Tensor, place: int, value: Tensor) -> None:
            signs[place] = column >= 0
            ids[place] = torch.bucketize(column.abs(), middles)
            codes[place] = (column / step).round().clamp(-self.top, self.top)
            magnitude = self.centroids[ids[place]]
            torch.where(
                salient[place],
                codes[place] * step,
                torch.where(signs[place], magnitude, -magnitude),
                out=value,
            )

        sweep_blocks(weight, factor, block, column_by_column(quantize))
        return replace(
            self, signs=signs.T, ids=ids.T, codes=torch.where(self.salient, codes.T, 0.0)
        )


@register
@dataclass(frozen=True)
class SAGE:
    """Separate salient weights, and cluster the magnitudes of the others.

    Attributes:
        clustering: `spectral` (nearest neighbours, self-tuning affinity) or `kmeans`, its cheap
            equivalent in one dimension.
        groups: number of magnitude groups; 0 for that of best silhouette up to 2**(lut_bits - 1).
        lut_bits: limits the number of groups.
        salient_bits: of a salient weight.
        salient_low: smallest share of salient weights. The share is searched by Brent's method for
            the least relative error + bit_penalty · claimed bits.
        salient_high: largest share of salient weights.
        bit_penalty: the paper has no such term; without one the largest share always wins.
        sample: number of magnitudes that are clustered.
        saliency: distance of a weight from the mean of its `matrix` or of its `row`.
        feedback: with masks and scales fixed, add each column's error to the columns on its right,
            as GPTQ does. Only this uses calibration; the paper has no such step.
        block: columns between two lazy updates.
        damping: share of the mean diagonal that is added to H.
        scale_dtype: type in which scales and centroids are stored, float16 or float32.
    """

    method: ClassVar[str] = "sage"
    paper: ClassVar[str] = "SAGE-PTQ, arXiv 2606.05429; a reconstruction"
    formats: ClassVar[tuple[type[QuantizedWeight], ...]] = (GroupedWeight,)
    contract_options: ClassVar[tuple[Mapping[str, object], ...]] = (
        {"sample": 400},
        {"clustering": "kmeans", "groups": 8},
        {"clustering": "kmeans", "sample": 400, "saliency": "row", "feedback": True},
    )
    clustering: str = "spectral"
    groups: int = 0
    lut_bits: Annotated[int, Field(ge=2, le=9)] = 4
    salient_bits: Annotated[int, Field(ge=2, le=8)] = 4
    salient_low: float = 0.002
    salient_high: float = 0.05
    bit_penalty: Share = 0.01
    sample: Positive = 2000
    saliency: str = "matrix"
    feedback: bool = False
    block: Positive = 128
    damping: Share = 0.01
    scale_dtype: str = "float16"

    def __post_init__(self) -> None:
        check_scale_dtype(self.method, self.scale_dtype)
        if self.clustering not in ("spectral", "kmeans"):
            raise OptionError(
                f"sage: clustering must be spectral or kmeans, not {self.clustering!r}"
            )
        if self.saliency not in ("matrix", "row"):
            raise OptionError(f"sage: saliency must be matrix or row, not {self.saliency!r}")
        if not 0 < self.salient_low <= self.salient_high < 1:
            raise OptionError(
                f"sage: 0 < salient_low <= salient_high < 1 must hold; they are {self.salient_low}"
                f" and {self.salient_high}"
            )
        if self.groups != 0 and not 2 <= self.groups <= 256:
            raise OptionError(
                f"sage: groups is {self.groups}; give 2 to 256, or 0 for the best silhouette"
            )

    @property
    def needs_stats(self) -> bool:
        """Whether the method uses calibration statistics."""
        return self.feedback

    def __call__(self, weight: Tensor, stats: LayerStats | None) -> GroupedWeight:
        """Quantize one weight (out, in); `stats` is used only with `feedback`."""
        weight = require_matrix(weight, self.method)
        if weight.shape[1] > 2**16:
            raise QuantizationError(
                f"sage: rows of {weight.shape[1]} weights are longer than its 16-bit column numbers"
                " reach"
            )
        events: tuple[Event, ...] = ()
        weight, factor = weight.float(), None
        if self.feedback:
            weight, stats, dead = prepare(weight, stats, self.method)
            weight[:, dead] = 0
            factor, events = inverse_factor(stats, self.damping, weight.device)
        fit = self._best_fit(weight)
        if factor is not None:
            fit = fit.swept(weight, factor, self.block)
        return GroupedWeight.pack(
            fit.signs,
            fit.salient,
            fit.ids,
            fit.codes,
            fit.centroids,
            fit.step,
            bits=self.salient_bits,
            dtype=SCALE_DTYPES[self.scale_dtype],
            events=events,
        )

    def _best_fit(self, weight: Tensor) -> _Fit:
        """Search the share of salient weights of least cost."""
        distance = self._distance(weight)
        ranked = distance.reshape(-1).sort(descending=True).values
        always_inlier = distance <= ranked[int(self.salient_high * ranked.numel())]
        seeds = magnitude_groups(
            weight.abs()[always_inlier],
            clustering=self.clustering,
            groups=self.groups,
            most=2 ** (self.lut_bits - 1),
            sample=self.sample,
        )

        def fit(share: float) -> _Fit:
            salient = distance > ranked[max(1, round(share * ranked.numel()))]
            return self._fit(weight, salient, seeds)

        def cost(share: float) -> float:
            error = (fit(share).values() - weight).square().sum()
            relative = error / weight.square().sum().clamp(min=torch.finfo(torch.float32).tiny)
            return float(relative) + self.bit_penalty * (1 + share * (self.salient_bits - 1))

        bounds = (self.salient_low, self.salient_high)
        best = minimize_scalar(cost, bounds=bounds, method="bounded", options={"xatol": 5e-4}).x
        return fit(float(best))

    def _distance(self, weight: Tensor) -> Tensor:
        """Return the distance of each weight from the mean, (out, in).

        For rows it is in units of their standard deviation.
        """
        if self.saliency == "matrix":
            return (weight - weight.mean()).abs()
        centred = weight - weight.mean(dim=1, keepdim=True)
        return centred.abs() / centred.square().mean(dim=1, keepdim=True).sqrt().clamp(
            min=torch.finfo(torch.float32).tiny
        )

    def _fit(self, weight: Tensor, salient: Tensor, seeds: Tensor) -> _Fit:
        dtype = SCALE_DTYPES[self.scale_dtype]
        centroids, ids = lloyd(weight.abs(), ~salient, seeds.to(weight.device))
        top = largest_code(self.salient_bits)
        step = (
            torch.where(salient, weight.abs(), 0.0).amax(dim=1, keepdim=True).clamp(min=1e-8) / top
        )
        codes = torch.where(salient, torch.clamp(torch.round(weight / step), -top, top), 0.0)
        # The scale of each row is refitted by least squares once the codes are fixed.
        squares = codes.square().sum(dim=1, keepdim=True)
        step = torch.where(
            squares > 0, (codes * weight).sum(dim=1, keepdim=True) / squares.clamp(min=1), step
        )
        some_salient = salient.any(dim=1, keepdim=True)
        require_precise(torch.where(some_salient, step, 0.0), self.salient_bits, dtype)
        require_precise(centroids, self.lut_bits, dtype)
        step = stored_scale(step, dtype)
        return _Fit(weight >= 0, salient, ids, codes, centroids.to(dtype).float(), step, top)
