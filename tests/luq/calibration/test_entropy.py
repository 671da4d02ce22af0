import math

import pytest
import torch

from luq.calibration.entropy import cluster_entropy, without_largest


@pytest.fixture
def tokens():
    return torch.randn(600, 16, generator=torch.Generator().manual_seed(0))


def test_entropy_lies_between_zero_and_the_logarithm_of_the_clusters(tokens):
    assert all(0 < h < 3 for h in cluster_entropy([tokens], 8, range(3)))


def test_equal_clusters_have_all_the_entropy_and_a_lonely_token_leaves_nearly_none():
    corners = torch.eye(4).repeat_interleave(50, dim=0) * 100 + torch.randn(200, 4)
    assert cluster_entropy([corners], 4, [0]) == [pytest.approx(2.0)]
    lonely = torch.randn(400, 4) * 1e-3
    lonely[0] = 1e3
    share = 1 / 400
    expected = -share * math.log2(share) - (1 - share) * math.log2(1 - share)
    assert cluster_entropy([lonely], 2, [0]) == [pytest.approx(expected)]


def test_a_seed_fixes_the_entropy_and_order_and_rotation_of_the_tokens_hardly_matter(tokens):
    first = cluster_entropy([tokens], 8, range(5))
    assert cluster_entropy([tokens], 8, range(5)) == first
    assert cluster_entropy([tokens], 8, [3]) == [pytest.approx(first[3], abs=1e-6)]
    turned, _ = torch.linalg.qr(torch.randn(16, 16))
    for other in (tokens.flip(0), tokens @ turned):
        assert sum(cluster_entropy([other], 8, range(5))) / 5 == pytest.approx(
            sum(first) / 5, abs=0.1
        )


def test_the_start_with_the_least_inertia_counts(tokens):
    from luq.calibration.kmeans import kmeans

    clustering = kmeans([tokens], 8, range(4))
    assert cluster_entropy([tokens], 8, [0], starts=4) == cluster_entropy(
        [tokens], 8, [int(clustering.inertia.argmin())]
    )


def test_fewer_tokens_than_clusters_are_refused(tokens):
    with pytest.raises(ValueError, match="600 tokens cannot form 601 clusters"):
        cluster_entropy([tokens], 601, [0])


def test_massive_tokens_can_be_left_out_and_only_they(tokens):
    massive = tokens.clone()
    massive[[17, 444]] *= 1000
    remaining = without_largest([massive[:100], massive[100:]], 2 / 600)
    assert torch.equal(torch.cat(remaining), torch.cat([tokens[:17], tokens[18:444], tokens[445:]]))
    assert cluster_entropy([massive], 3, [0])[0] < 0.1 < 1 < cluster_entropy(remaining, 3, [0])[0]
    assert sum(map(len, without_largest([tokens], 0.0))) == 600
    assert sum(map(len, without_largest([tokens], 1e-9))) == 599
