"""Groups of weight magnitudes for SAGE-PTQ: spectral clustering or K-means of a sample."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from sklearn.cluster import KMeans
from sklearn.manifold import spectral_embedding
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

Floats = NDArray[np.float64]
NEIGHBOURS, LLOYD_STEPS = 10, 10


def magnitude_groups(
    magnitudes: Tensor, *, clustering: str, groups: int, most: int, sample: int
) -> Tensor:
    """Cluster a fixed sample of magnitudes.

    Args:
        magnitudes: (n,).
        clustering: "spectral" or "kmeans".
        groups: number of groups; 0 for the number of best silhouette from 2 to `most`.
        most: largest number of groups.
        sample: number of magnitudes that are clustered.

    Returns:
        (groups,) float32, the mean of each group, ascending.
    """
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randperm(magnitudes.numel(), generator=generator)[:sample]
    points = magnitudes[chosen.to(magnitudes.device)].double().cpu().numpy()[:, None]
    if len(np.unique(points)) < 4 * NEIGHBOURS:
        # A nearly constant matrix: as many groups as there are magnitudes.
        levels = np.unique(points)[:most]
        return torch.from_numpy(np.resize(levels, max(2, len(levels)))).float()
    features = _spectral_features(points, most) if clustering == "spectral" else points
    candidates = [groups] if groups else range(2, most + 1)
    labellings = [
        KMeans(g, n_init=4, random_state=0).fit_predict(features[:, :g]) for g in candidates
    ]
    scores = [
        silhouette_score(points, labels) if len(set(labels)) > 1 else -1.0 for labels in labellings
    ]
    best = labellings[int(np.argmax(scores))]
    return torch.tensor(sorted(float(points[best == g].mean()) for g in np.unique(best)))


def _spectral_features(points: Floats, count: int) -> Floats:
    """Return leading eigenvectors of the normalised Laplacian of a nearest-neighbour graph.

    Affinities are scaled to each point's neighbourhood (Zelnik-Manor and Perona 2004).

    Args:
        points: (n, 1).
        count: number of eigenvectors.

    Returns:
        (n, count).
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


def lloyd(magnitudes: Tensor, inlier: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor]:
    """Refine centroids by at most LLOYD_STEPS of Lloyd's iterations.

    Args:
        magnitudes: (out, in).
        inlier: (out, in) bool, which magnitudes count.
        centroids: (groups,) to start from.

    Returns:
        (groups,) float32 ascending, and the group of every magnitude, (out, in).
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
