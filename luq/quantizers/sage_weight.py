"""The packed format of SAGE-PTQ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from luq.rounding.packing import pack_bits, unpack_bits
from luq.types import Event


@dataclass(frozen=True)
class GroupedWeight:
    """A weight of salient entries with a few bits, and inliers with a sign and a group.

    Attributes:
        out_features: rows of the weight.
        in_features: columns of the weight.
        salient_bits: of a salient weight.
        signs: packed, a bit for each inlier.
        ids: packed, ceil(log2 groups) bits for the group of each inlier.
        centroids: (groups,), magnitude of each group.
        counts: (out,) uint16, salient weights of each row.
        columns: (salient,) uint16, where they are.
        codes: packed, `salient_bits` bits for each salient weight.
        step: (out, 1), scale of the salient weights.
        events: see `luq.types.QuantizedWeight`.
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
        cls,
        signs: Tensor,
        salient: Tensor,
        ids: Tensor,
        codes: Tensor,
        centroids: Tensor,
        step: Tensor,
        *,
        bits: int,
        dtype: torch.dtype,
        events: tuple[Event, ...] = (),
    ) -> GroupedWeight:
        """Pack a weight.

        Args:
            signs: (out, in) bool, read for inliers.
            salient: (out, in) bool.
            ids: (out, in) integers, read for inliers.
            codes: (out, in) integers from -(2**(bits-1)-1), read for salient weights.
            centroids: (groups,).
            step: (out, 1).
            bits: of a salient weight.
            dtype: type in which centroids and steps are stored.
            events: see `luq.types.QuantizedWeight`.
        """
        out, inner = signs.shape
        signs, salient, ids, codes = (part.cpu() for part in (signs, salient, ids, codes))
        counts, columns = salient.sum(dim=1), salient.nonzero()[:, 1]
        return cls(
            out_features=out,
            in_features=inner,
            salient_bits=bits,
            signs=pack_bits(signs[~salient], 1),
            ids=pack_bits(ids[~salient], _id_bits(len(centroids))),
            centroids=centroids.to(dtype).cpu(),
            counts=counts.to(torch.int32).to(torch.uint16),
            columns=columns.to(torch.int32).to(torch.uint16),
            codes=pack_bits((codes + largest_code(bits))[salient], bits),
            step=step.to(dtype).cpu(),
            events=events,
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in) of the weight."""
        return self.out_features, self.in_features

    @property
    def share(self) -> float:
        """Share of salient weights."""
        return self.columns.numel() / (self.out_features * self.in_features)

    @property
    def paper_bits(self) -> float:
        """Bits as the paper seems to count them: signs, salient bits, a scale for each row.

        Group ids and positions of salient weights are not counted.
        """
        return 1 + self.share * (self.salient_bits - 1) + 16 / self.in_features

    @property
    def entropy_coded_bits(self) -> float:
        """Bits per weight with an ideal entropy coder for group ids and salient positions."""
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
        """Return the stored tensors by field name."""
        names = ("signs", "ids", "centroids", "counts", "columns", "codes", "step")
        return {name: getattr(self, name) for name in names}

    def header(self) -> dict[str, int]:
        """Return the other stored fields."""
        return {
            "out_features": self.out_features,
            "in_features": self.in_features,
            "salient_bits": self.salient_bits,
        }

    def dequantize(self) -> Tensor:
        """Return the rebuilt weight, (out, in) float32."""
        out, inner = self.shape
        device = self.signs.device
        rows = torch.repeat_interleave(
            torch.arange(out, device=device), self.counts.to(torch.int32).long()
        )
        salient = torch.zeros(out, inner, dtype=torch.bool, device=device)
        salient[rows, self.columns.to(torch.int32).long()] = True
        signs = unpack_bits(self.signs, 1, self._inliers()).bool()
        magnitudes = self.centroids.float()[self._unpacked_ids().long()]
        codes = unpack_bits(self.codes, self.salient_bits, self.columns.numel()).float()
        codes = codes - largest_code(self.salient_bits)
        weight = torch.zeros(out, inner, device=device)
        weight[~salient] = torch.where(signs, magnitudes, -magnitudes)
        weight[salient] = codes * self.step.float()[rows, 0]
        return weight


def largest_code(bits: int) -> int:
    """Return the largest code of a salient weight; codes are symmetric around zero."""
    return int(2 ** (bits - 1)) - 1


def _id_bits(groups: int) -> int:
    return max(1, (groups - 1).bit_length())
