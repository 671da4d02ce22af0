"""SAGE-PTQ (arXiv 2606.05429), a reconstruction: no code was published, and where the paper leaves
a choice it is named here.

Weights far from the mean keep a few bits with one scale a row; the others are a sign and one scalar
of a few groups of magnitudes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.sparse import coo_array
from sklearn.cluster import KMeans
from sklearn.manifold import spectral_embedding
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from luq.rounding.error_feedback import (
    column_by_column,
    inverse_factor,
    prepare,
    require_matrix,
    sweep_blocks,
)
from luq.rounding.grids import SCALE_DTYPES, check_scale_dtype
from luq.rounding.packing import pack_bits, unpack_bits
from luq.types import Event, LayerStats, OptionError, QuantizationError

Floats = NDArray[np.float64]
NEIGHBOURS, LLOYD_STEPS = 10, 10


@dataclass(frozen=True)
class SAGE:
    """clustering:

    `spectral` (nearest neighbours, self-tuning affinity) or `kmeans`, its cheap equivalent in one
    dimension.

    groups: number of magnitude groups; 0 takes the number of best silhouette up to 2**(lut_bits -
    1). salient_bits: of salient weights. salient_low, salient_high: bounds of their share, found by
    Brent's method at least relative error + bit_penalty · claimed bits (the paper names no such
    term; without one the largest share always wins). sample: magnitudes that are clustered.
    saliency: how far a weight lies from the mean of its `matrix` or of its `row`. feedback: once
    masks and scales are fixed, push each column's error to the columns on its right as GPTQ does;
    only this uses calibration, and the paper has no such step.
    """

    method: ClassVar[str] = "sage"
    paper: ClassVar[str] = "SAGE-PTQ, arXiv 2606.05429; a reconstruction"
    clustering: str = "spectral"
    groups: int = 0
    lut_bits: int = 4
    salient_bits: int = 4
    salient_low: float = 0.002
    salient_high: float = 0.05
    bit_penalty: float = 0.01
    sample: int = 2000
    saliency: str = "matrix"
    feedback: bool = False
    block: int = 128
    damping: float = 0.01
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
        return self.feedback

    def __call__(self, weight: Tensor, stats: LayerStats | None) -> GroupedWeight:
        require_matrix(weight, self.method)
        events: tuple[Event, ...] = ()
        weight, factor = weight.float(), None
        if self.feedback:
            weight, stats, dead = prepare(weight, stats, self.method)
            weight[:, dead] = 0
            factor, events = inverse_factor(stats, self.damping, weight.device)
        if weight.shape[1] > 2**16:
            raise QuantizationError(
                f"sage: rows of {weight.shape[1]} weights are longer than its 16-bit column numbers"
                " reach"
            )
        distance = self._distance(weight)
        ranked = distance.reshape(-1).sort(descending=True).values
        seeds = self._centroids(
            weight.abs()[distance <= ranked[int(self.salient_high * ranked.numel())]]
        )

        def split(share: float) -> Tensor:
            return distance > ranked[max(1, round(share * ranked.numel()))]

        def cost(share: float) -> float:
            error = (self._fit(weight, split(share), seeds).values() - weight).square().sum()
            relative = error / weight.square().sum().clamp(min=torch.finfo(torch.float32).tiny)
            return float(relative) + self.bit_penalty * (1 + share * (self.salient_bits - 1))

        bounds = (self.salient_low, self.salient_high)
        share = float(
            minimize_scalar(cost, bounds=bounds, method="bounded", options={"xatol": 5e-4}).x
        )
        fitted = self._fit(weight, split(share), seeds)
        if factor is not None:
            fitted = fitted.swept(weight, factor, self.block)
        return GroupedWeight.pack(fitted, self.salient_bits, SCALE_DTYPES[self.scale_dtype], events)

    def _distance(self, weight: Tensor) -> Tensor:
        """How salient each weight is: its distance from the mean, for rows in units of their
        standard deviation.
        """
        if self.saliency == "matrix":
            return (weight - weight.mean()).abs()
        centred = weight - weight.mean(dim=1, keepdim=True)
        return centred.abs() / centred.square().mean(dim=1, keepdim=True).sqrt().clamp(
            min=torch.finfo(torch.float32).tiny
        )

    def _fit(self, weight: Tensor, salient: Tensor, seeds: Tensor) -> _Fit:
        dtype = SCALE_DTYPES[self.scale_dtype]
        centroids, ids = _lloyd(weight.abs(), ~salient, seeds.to(weight.device))
        top = 2 ** (self.salient_bits - 1) - 1
        step = (
            torch.where(salient, weight.abs(), 0.0).amax(dim=1, keepdim=True).clamp(min=1e-8) / top
        )
        codes = torch.where(salient, torch.clamp(torch.round(weight / step), -top, top), 0.0)
        # One scale a row, refitted by least squares once the codes are fixed.
        squares = codes.square().sum(dim=1, keepdim=True)
        step = torch.where(
            squares > 0, (codes * weight).sum(dim=1, keepdim=True) / squares.clamp(min=1), step
        )
        step = step.to(dtype).float().clamp(min=torch.finfo(dtype).tiny)
        return _Fit(weight >= 0, salient, ids, centroids.to(dtype).float(), codes, step, top)

    def _centroids(self, magnitudes: Tensor) -> Tensor:
        """(groups,) starting centroids of the inliers' magnitudes, ascending, from a fixed sample."""
        generator = torch.Generator().manual_seed(0)
        chosen = torch.randperm(magnitudes.numel(), generator=generator)[: self.sample]
        points = magnitudes[chosen.to(magnitudes.device)].double().cpu().numpy()[:, None]
        if len(np.unique(points)) < 4 * NEIGHBOURS:
            # A nearly constant matrix: as many groups as there are magnitudes.
            levels = np.unique(points)[: 2 ** (self.lut_bits - 1)]
            return torch.from_numpy(np.resize(levels, max(2, len(levels)))).float()
        features = (
            _spectral_features(points, 2 ** (self.lut_bits - 1))
            if self.clustering == "spectral"
            else points
        )
        candidates = [self.groups] if self.groups else range(2, 2 ** (self.lut_bits - 1) + 1)
        labellings = [
            KMeans(g, n_init=4, random_state=0).fit_predict(features[:, :g]) for g in candidates
        ]
        scores = [
            silhouette_score(points, labels) if len(set(labels)) > 1 else -1.0
            for labels in labellings
        ]
        best = labellings[int(np.argmax(scores))]
        return torch.tensor(sorted(float(points[best == g].mean()) for g in np.unique(best)))


def _spectral_features(points: Floats, count: int) -> Floats:
    """The leading eigenvectors of the normalised Laplacian of a nearest-neighbour graph, its
    affinities scaled to each point's own neighbourhood (Zelnik-Manor and Perona 2004). points: (n,
    1); result: (n, count).
    """
    distances, neighbours = (
        NearestNeighbors(n_neighbors=NEIGHBOURS + 1).fit(points).kneighbors(points)
    )
    width = np.maximum(distances[:, -1], 1e-12)
    affinity = np.exp(-(distances**2) / (width[:, None] * width[neighbours]))
    rows = np.repeat(np.arange(len(points), dtype=np.int32), NEIGHBOURS + 1)
    graph = coo_array(
        (affinity.ravel(), (rows, neighbours.ravel().astype(np.int32))),
        shape=(len(points), len(points)),
    ).tocsr()
    graph = (graph + graph.T) / 2
    return np.asarray(
        spectral_embedding(graph, n_components=count, random_state=0, drop_first=False)
    )


def _lloyd(magnitudes: Tensor, inlier: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor]:
    """(centroids, group of every weight): assignment to the nearest centroid and its mean in turn,
    at most LLOYD_STEPS times.
    """
    values = magnitudes[inlier]
    centroids = centroids.sort().values.to(values)
    for _ in range(LLOYD_STEPS):
        ids = torch.bucketize(values, (centroids[1:] + centroids[:-1]) / 2)
        counts = torch.bincount(ids, minlength=len(centroids))
        sums = torch.zeros_like(centroids, dtype=torch.float64).index_add_(0, ids, values.double())
        updated = (
            torch.where(counts > 0, sums / counts.clamp(min=1), centroids.double())
            .float()
            .sort()
            .values
        )
        if float((updated - centroids).abs().max()) < 1e-4 * float(centroids.abs().max()):
            break
        centroids = updated
    return centroids, torch.bucketize(magnitudes, (centroids[1:] + centroids[:-1]) / 2)


@dataclass(frozen=True)
class _Fit:
    """A quantized weight before it is packed. signs, salient, ids, codes (-top..top):

    (out, in); centroids: (groups,); step: (out, 1), both rounded to what is stored.
    """

    signs: Tensor
    salient: Tensor
    ids: Tensor
    centroids: Tensor
    codes: Tensor
    step: Tensor
    top: int

    def values(self) -> Tensor:
        magnitudes = self.centroids[self.ids]
        return torch.where(
            self.salient, self.codes * self.step, torch.where(self.signs, magnitudes, -magnitudes)
        )

    def swept(self, weight: Tensor, factor: Tensor, block: int) -> _Fit:
        """The same masks, centroids and steps with codes, groups and signs chosen column by column
        under error feedback.
        """
        signs, ids, codes = (t.new_empty(t.shape[::-1]) for t in (self.signs, self.ids, self.codes))
        salient, step, middles = (
            self.salient.T.contiguous(),
            self.step[:, 0],
            (self.centroids[1:] + self.centroids[:-1]) / 2,
        )

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


@dataclass(frozen=True)
class GroupedWeight:
    """signs: a bit for each inlier; ids: its group in ceil(log2 groups) bits; centroids:

    (groups,). counts: salient weights of each row, columns: where they are, 16 bits each; codes:
    packed; step: (out, 1).
    """

    format: ClassVar[str] = "grouped"
    out_features: int
    in_features: int
    salient_bits: int
    signs: Tensor
    ids: Tensor
    centroids: Tensor
    counts: Tensor
    columns: Tensor
    codes: Tensor
    step: Tensor
    events: tuple[Event, ...] = ()

    @classmethod
    def pack(
        cls, fit: _Fit, bits: int, dtype: torch.dtype, events: tuple[Event, ...] = ()
    ) -> GroupedWeight:
        out, inner = fit.signs.shape
        signs, salient, ids, codes = (
            part.cpu() for part in (fit.signs, fit.salient, fit.ids, fit.codes)
        )
        counts, columns = (
            salient.sum(dim=1).to(torch.int32).to(torch.uint16),
            salient.nonzero()[:, 1].to(torch.int32).to(torch.uint16),
        )
        packed = (
            pack_bits(signs[~salient], 1),
            pack_bits(ids[~salient], _id_bits(len(fit.centroids))),
            pack_bits((codes + fit.top)[salient], bits),
        )
        centroids, step = fit.centroids.to(dtype).cpu(), fit.step.to(dtype).cpu()
        return cls(
            out,
            inner,
            bits,
            packed[0],
            packed[1],
            centroids,
            counts,
            columns,
            packed[2],
            step,
            events,
        )

    @property
    def shape(self) -> tuple[int, int]:
        return self.out_features, self.in_features

    @property
    def share(self) -> float:
        return self.columns.numel() / (self.out_features * self.in_features)

    @property
    def paper_bits(self) -> float:
        """As the paper seems to count: a sign, the salient weights' bits, one scale a row; no group
        ids, no positions.
        """
        return 1 + self.share * (self.salient_bits - 1) + 16 / self.in_features

    @property
    def entropy_coded_bits(self) -> float:
        """What an ideal coder of group ids and salient positions would need: the least that this
        content can be stored in.
        """
        shares = torch.bincount(self._unpacked_ids().long()).double() / max(1, self._inliers())
        ids = -float((shares[shares > 0] * shares[shares > 0].log2()).sum())
        r = self.share
        positions = -(r * np.log2(r) + (1 - r) * np.log2(1 - r)) if 0 < r < 1 else 0.0
        return (
            self.paper_bits
            + (1 - r) * ids
            + positions
            + 16 * len(self.centroids) / (self.out_features * self.in_features)
        )

    def _inliers(self) -> int:
        return self.out_features * self.in_features - self.columns.numel()

    def _unpacked_ids(self) -> Tensor:
        return unpack_bits(self.ids, _id_bits(len(self.centroids)), self._inliers())

    def tensors(self) -> dict[str, Tensor]:
        return {
            name: getattr(self, name)
            for name in ("signs", "ids", "centroids", "counts", "columns", "codes", "step")
        }

    def header(self) -> dict[str, Any]:
        return {
            "out_features": self.out_features,
            "in_features": self.in_features,
            "salient_bits": self.salient_bits,
        }

    def dequantize(self) -> Tensor:
        """(out, in) float32."""
        out, inner = self.shape
        device = self.signs.device
        rows = torch.repeat_interleave(
            torch.arange(out, device=device), self.counts.to(torch.int32).long()
        )
        salient = torch.zeros(out, inner, dtype=torch.bool, device=device)
        salient[rows, self.columns.to(torch.int32).long()] = True
        signs = unpack_bits(self.signs, 1, self._inliers()).bool()
        magnitudes = self.centroids.float()[self._unpacked_ids().long()]
        codes = unpack_bits(self.codes, self.salient_bits, self.columns.numel()).float() - (
            2 ** (self.salient_bits - 1) - 1
        )
        weight = torch.zeros(out, inner, device=device)
        weight[~salient] = torch.where(signs, magnitudes, -magnitudes)
        weight[salient] = codes * self.step.float()[rows, 0]
        return weight


def _id_bits(groups: int) -> int:
    return max(1, (groups - 1).bit_length())
