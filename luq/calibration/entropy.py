"""Entropy of a block's activations under K-means (LUQ, equations 3 to 5)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from luq.calibration.kmeans import kmeans


def cluster_entropy(
    activations: Sequence[Tensor],
    clusters: int,
    seeds: Sequence[int],
    *,
    starts: int = 1,
    init: str = "k-means++",
) -> list[float]:
    """-Σ p_j log2 p_j over the shares p_j of the tokens in each of `clusters` K-means clusters, in
    bits: 0 to log2(clusters), one a seed.

    activations: (tokens, hidden) each, pooled over sequences. starts: K-means starts of a seed, of
    which the one with the least inertia counts; init: how they draw their centres. Shares are taken
    over all tokens (equation 4 divides by one sequence's length; the shares would then not sum to
    one). Raises ValueError for fewer tokens than clusters.
    """
    found = kmeans(
        activations,
        clusters,
        [seed * starts + start for seed in seeds for start in range(starts)],
        init=init,
    )
    best = found.inertia.view(len(seeds), starts).argmin(dim=1) + starts * torch.arange(len(seeds))
    shares = found.sizes[best].double() / found.sizes[0].sum()
    return [
        float(h)
        for h in -torch.xlogy(shares, shares).sum(dim=1)
        / torch.log(torch.tensor(2.0, dtype=torch.float64))
    ]


def without_largest(activations: Sequence[Tensor], share: float) -> list[Tensor]:
    """The tokens without the share of them with the largest norms, rounded up: a few massive
    activations can hold clusters of their own.
    """
    norms = torch.cat([part.float().norm(dim=1) for part in activations])
    dropped = -int(-share * len(norms) // 1)
    if dropped == 0:
        return list(activations)
    keep = torch.ones(len(norms), dtype=torch.bool, device=norms.device)
    keep[norms.topk(dropped).indices] = False
    return [
        part[mask]
        for part, mask in zip(activations, keep.split([len(p) for p in activations]), strict=True)
    ]
