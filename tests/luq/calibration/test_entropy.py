import numpy as np
import pytest

from luq.calibration.entropy import cluster_entropy, entropy_over_seeds


@pytest.fixture
def tokens():
    return np.random.default_rng(0).normal(size=(600, 16)).astype(np.float32)


def test_entropy_lies_between_zero_and_the_logarithm_of_the_clusters(tokens):
    assert 0 < cluster_entropy(tokens, 8, 0) < 3


def test_equal_clusters_have_all_the_entropy_and_one_cluster_has_nearly_none():
    corners = np.repeat(np.eye(4, dtype=np.float32) * 100, 50, axis=0) + np.random.default_rng(1).normal(size=(200, 4)).astype(np.float32)
    best = max(cluster_entropy(corners, 4, seed) for seed in range(8))
    assert best == pytest.approx(2.0, abs=1e-6)
    lonely = np.zeros((400, 4), np.float32)
    lonely[0] = 1e3
    lonely[1:] += np.random.default_rng(2).normal(size=(399, 4)) * 1e-3
    assert min(cluster_entropy(lonely, 2, seed) for seed in range(8)) < 0.05


def test_a_seed_fixes_the_entropy_and_the_order_of_tokens_hardly_matters(tokens):
    assert cluster_entropy(tokens, 8, 3) == cluster_entropy(tokens, 8, 3)
    shuffled = np.random.default_rng(4).permutation(tokens)
    assert cluster_entropy(shuffled, 8, 3) == pytest.approx(cluster_entropy(tokens, 8, 3), abs=0.15)


def test_mean_and_spread_are_over_the_seeds(tokens):
    values = [cluster_entropy(tokens, 8, seed) for seed in range(3)]
    assert entropy_over_seeds(tokens, 8, 3) == (pytest.approx(np.mean(values)), pytest.approx(np.std(values, ddof=1)))


def test_fewer_tokens_than_clusters_are_refused(tokens):
    with pytest.raises(ValueError, match="600 tokens cannot form 601 clusters"):
        cluster_entropy(tokens, 601, 0)
