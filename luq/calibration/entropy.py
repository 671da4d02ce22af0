"""Entropy of a block's activations under K-means (LUQ, equations 3 to 5)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans


def cluster_entropy(activations: NDArray[np.float32], clusters: int, seed: int) -> float:
    """-Σ p_j log2 p_j over the shares p_j of the tokens in each of `clusters` K-means clusters, in bits: 0 to log2(clusters).

    activations: (tokens, hidden). Shares are taken over all tokens (equation 4 divides by one sequence's length; the shares would then
    not sum to one). Raises ValueError for fewer tokens than clusters.
    """
    if len(activations) < clusters:
        raise ValueError(f"{len(activations)} tokens cannot form {clusters} clusters; use more calibration tokens or fewer clusters")
    labels = KMeans(clusters, init="random", n_init=1, max_iter=100, tol=1e-4, random_state=seed).fit_predict(activations)
    shares = np.bincount(labels, minlength=clusters) / len(labels)
    shares = shares[shares > 0]
    return float(-(shares * np.log2(shares)).sum())


def entropy_over_seeds(activations: NDArray[np.float32], clusters: int, seeds: int) -> tuple[float, float]:
    """(mean, standard deviation) of `cluster_entropy` over the seeds 0..seeds-1."""
    values = [cluster_entropy(activations, clusters, seed) for seed in range(seeds)]
    return float(np.mean(values)), float(np.std(values, ddof=1)) if seeds > 1 else 0.0
