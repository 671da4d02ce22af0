"""Entropy of a block's activations under K-means (LUQ, arXiv 2509.23729, equations 3 to 5)."""

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
    """Return -Σ p_j log2 p_j over the shares p_j of the tokens in each K-means cluster.

    Shares are taken over all tokens. Equation 4 of the paper divides by the length of one sequence;
    the shares would then not sum to one.

    Args:
        activations: (tokens, hidden) each, pooled over sequences.
        clusters: number of clusters K.
        seeds: one clustering each.
        starts: K-means starts for each seed, of which the one with the least inertia counts.
        init: how a start draws its centres, a name in `luq.calibration.kmeans.INITS`.

    Returns:
        One entropy for each seed, in bits, 0 to log2(clusters).

    Raises:
        OptionError: There are fewer tokens than clusters.
    """
    clustering = kmeans(
        activations,
        clusters,
        [seed * starts + start for seed in seeds for start in range(starts)],
        init=init,
    )
    best = clustering.inertia.view(len(seeds), starts).argmin(dim=1)
    best = best + starts * torch.arange(len(seeds))
    shares = clustering.sizes[best].double() / clustering.sizes[0].sum()
    return [
        float(h)
        for h in -torch.xlogy(shares, shares).sum(dim=1)
        / torch.log(torch.tensor(2.0, dtype=torch.float64))
    ]


def without_largest(activations: Sequence[Tensor], share: float) -> list[Tensor]:
    """Return the tokens without those of largest norm.

    A few massive activations can take clusters of their own.

    Args:
        activations: (tokens, hidden) each.
        share: share of all tokens that is left out, rounded up.
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
