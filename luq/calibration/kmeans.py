"""K-means over tokens in chunks, with several starts at once, on the tokens' device.

scikit-learn's K-means runs on a CPU and takes one array. This gives the same clusterings (a test
compares them) and also runs on CUDA.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from luq.types import OptionError

CHUNK = 8192  # tokens whose distances are in memory at once
ITERATIONS = 100
# Iteration stops when the squared movement of all centres is at most this share of the variance.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Clustering:
    """Clusterings of the same tokens from several starts. All tensors are on the CPU.

    Attributes:
        sizes: (starts, clusters), tokens in each cluster.
        inertia: (starts,), sum of squared distances to the nearest centre.
        labels: (starts, tokens), cluster of each token.
    """

    sizes: Tensor
    inertia: Tensor
    labels: Tensor


class _Tokens:
    """Tokens in chunks; reading a chunk gives it centred on the mean of all, in float32."""

    def __init__(self, activations: Sequence[Tensor]):
        self.chunks = _even_chunks(activations)
        self.count = sum(len(chunk) for chunk in self.chunks)
        total = sum(
            (chunk.double().sum(dim=0) for chunk in self.chunks[1:]),
            self.chunks[0].double().sum(dim=0),
        )
        self.mean = (total / self.count).float()
        self.device = self.mean.device
        self.norms = torch.cat([self[i].square().sum(dim=1) for i in range(len(self.chunks))])
        self.variance = float(self.norms.double().mean()) / len(self.mean)

    def __getitem__(self, chunk: int) -> Tensor:
        return self.chunks[chunk].float() - self.mean

    def rows(self, indices: Tensor) -> Tensor:
        """Return the tokens with these indices, (indices, hidden)."""
        return (
            torch.stack([self.chunks[i // CHUNK][i % CHUNK].float() for i in indices.tolist()])
            - self.mean
        )


def _even_chunks(activations: Sequence[Tensor]) -> list[Tensor]:
    """Split the tokens again, CHUNK in every chunk but the last."""
    chunks: list[Tensor] = []
    waiting: list[Tensor] = []
    size = 0
    for part in activations:
        for piece in part.split(CHUNK):
            while size + len(piece) >= CHUNK:
                head, piece = piece[: CHUNK - size], piece[CHUNK - size :]
                chunks.append(torch.cat([*waiting, head]))
                waiting, size = [], 0
            if len(piece):
                waiting.append(piece)
                size += len(piece)
    return [*chunks, torch.cat(waiting)] if waiting else chunks


@torch.inference_mode()
def kmeans(
    activations: Sequence[Tensor], clusters: int, seeds: Sequence[int], *, init: str = "k-means++"
) -> Clustering:
    """Cluster the tokens once for every seed by at most ITERATIONS of Lloyd's iterations.

    A cluster that loses all its tokens restarts at the token that is farthest from its centre.

    Args:
        activations: (tokens, hidden) each, any floating dtype; distances are float32 on their
            device.
        clusters: number of clusters.
        seeds: one start each.
        init: how a start draws its centres: "k-means++" (greedy, Arthur and Vassilvitskii 2007, as
            in scikit-learn) or "random" tokens.

    Raises:
        OptionError: There are fewer tokens than clusters.
    """
    count = sum(len(part) for part in activations)
    if count < clusters:
        raise OptionError(
            f"{count} tokens cannot form {clusters} clusters; use more calibration tokens or fewer"
            " clusters"
        )
    tokens = _Tokens(activations)
    centres = INITS[init](tokens, clusters, seeds)
    active = torch.arange(len(seeds))
    for _ in range(ITERATIONS):
        labels, distances = _assign(tokens, centres[active])
        moved = _centres(tokens, labels, distances, clusters)
        shift = (moved - centres[active]).square().sum(dim=(1, 2))
        centres[active] = moved
        active = active[(shift > TOLERANCE * tokens.variance).cpu()]
        if not len(active):
            break
    labels, distances = _assign(tokens, centres)
    sizes = torch.stack([torch.bincount(row, minlength=clusters) for row in labels])
    return Clustering(sizes.cpu(), distances.double().sum(dim=1).cpu(), labels.cpu())


def _plus_plus(tokens: _Tokens, clusters: int, seeds: Sequence[int]) -> Tensor:
    """Draw centres (starts, clusters, hidden) by greedy k-means++.

    Each next centre is, of a few tokens drawn with probability proportional to their squared
    distance to the nearest centre, the one that leaves the smallest sum of these distances.
    """
    starts, trials = len(seeds), 2 + int(math.log(clusters))
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    drawn = torch.stack(
        [torch.rand(clusters, trials, generator=g, dtype=torch.float64) for g in generators]
    ).to(tokens.device)
    centres = [tokens.rows((drawn[:, 0, 0] * tokens.count).long())]
    nearest = _distances(tokens, centres[0])
    every = torch.arange(starts, device=tokens.device)
    for number in range(1, clusters):
        reach = nearest.double().cumsum(dim=1)
        candidates = torch.searchsorted(reach, drawn[:, number] * reach[:, -1:]).clamp_(
            max=tokens.count - 1
        )
        rows = tokens.rows(candidates.flatten())
        closer = torch.minimum(nearest[:, None], _distances(tokens, rows).view(starts, trials, -1))
        best = closer.sum(dim=2, dtype=torch.float64).argmin(dim=1)
        nearest = closer[every, best]
        centres.append(rows.view(starts, trials, -1)[every, best])
    return torch.stack(centres, dim=1)


def _random(tokens: _Tokens, clusters: int, seeds: Sequence[int]) -> Tensor:
    """Draw centres (starts, clusters, hidden): different tokens at random."""
    drawn = [
        torch.randperm(tokens.count, generator=torch.Generator().manual_seed(seed))[:clusters]
        for seed in seeds
    ]
    return torch.stack([tokens.rows(chosen) for chosen in drawn])


INITS = {"k-means++": _plus_plus, "random": _random}


def _distances(tokens: _Tokens, centres: Tensor) -> Tensor:
    """Return squared distances, (centres, tokens)."""
    products = torch.cat([tokens[i] @ centres.T for i in range(len(tokens.chunks))]).T
    return (tokens.norms - 2 * products + centres.square().sum(dim=1, keepdim=True)).clamp_(min=0)


def _assign(tokens: _Tokens, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Return label and squared distance of the nearest centre, each (starts, tokens)."""
    starts, clusters, hidden = centres.shape
    offset = centres.square().sum(dim=2)
    labels, distances = [], []
    for i in range(len(tokens.chunks)):
        score = offset - 2 * (tokens[i] @ centres.reshape(starts * clusters, hidden).T).view(
            -1, starts, clusters
        )
        best = score.min(dim=2)
        labels.append(best.indices)
        distances.append(best.values)
    return torch.cat(labels).T, (torch.cat(distances).T + tokens.norms).clamp_(min=0)


def _centres(tokens: _Tokens, labels: Tensor, distances: Tensor, clusters: int) -> Tensor:
    """Return the means of the tokens with each label, (starts, clusters, hidden)."""
    starts = len(labels)
    rows = labels + clusters * torch.arange(starts, device=labels.device)[:, None]
    sums = torch.zeros(starts * clusters, len(tokens.mean), device=tokens.device)
    for i, part in enumerate(rows.split(CHUNK, dim=1)):
        chosen = torch.zeros(starts * clusters, part.shape[1], device=tokens.device)
        chosen.scatter_(0, part, 1.0)
        # Unlike index_add_, a matrix product gives the same sums every time on CUDA.
        sums += chosen @ tokens[i]
    sizes = torch.stack([torch.bincount(row, minlength=clusters) for row in labels])
    means = sums.view(starts, clusters, -1) / sizes.clamp(min=1)[..., None]
    for start, empty in enumerate(sizes == 0):
        if bool(empty.any()):
            means[start, empty] = tokens.rows(distances[start].topk(int(empty.sum())).indices)
    return means
