import pytest
import torch
from sklearn.cluster import KMeans

from luq.calibration import kmeans as module
from luq.calibration.kmeans import kmeans

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def blobs(count=3000, hidden=24, centres=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    places = torch.randn(centres, hidden, generator=generator) * 3
    return places[torch.randint(centres, (count,), generator=generator)] + torch.randn(
        count, hidden, generator=generator
    )


def test_inertia_is_as_low_as_scikit_learns():
    tokens = blobs(centres=40)
    ours = kmeans([tokens], 25, range(5)).inertia.mean()
    expected = (
        sum(
            KMeans(25, n_init=1, random_state=seed).fit(tokens.numpy()).inertia_
            for seed in range(5)
        )
        / 5
    )
    assert float(ours) == pytest.approx(expected, rel=0.03)


def test_labels_and_sizes_are_those_of_the_nearest_centre_and_inertia_is_their_distance():
    tokens = blobs()
    clustering = kmeans([tokens], 12, [0, 1])
    for labels, sizes, inertia in zip(
        clustering.labels, clustering.sizes, clustering.inertia, strict=True
    ):
        assert torch.equal(torch.bincount(labels, minlength=12), sizes)
        centres = torch.stack([tokens[labels == j].mean(dim=0) for j in range(12)])
        distances = torch.cdist(tokens, centres)
        assert (
            float((distances.argmin(dim=1) == labels).float().mean()) > 0.98
        )  # centres moved once more after the labels were given
        assert float(distances.min(dim=1).values.square().sum()) == pytest.approx(
            float(inertia), rel=1e-3
        )


def test_well_separated_clusters_are_found_exactly():
    corners = torch.eye(6).repeat_interleave(40, dim=0) * 100 + torch.randn(240, 6)
    assert kmeans([corners], 6, [0]).sizes.tolist() == [[40] * 6]


def test_chunks_of_any_size_give_the_same_clusters(monkeypatch):
    tokens = blobs(count=1000)
    whole = kmeans([tokens], 9, [0, 1])
    monkeypatch.setattr(module, "CHUNK", 64)
    parts = kmeans(list(tokens.split([1, 300, 0, 699])), 9, [0, 1])
    assert torch.equal(parts.labels, whole.labels)


def test_no_chunk_holds_more_tokens_than_the_limit(monkeypatch):
    """What bounds memory: no product with all tokens at once."""
    monkeypatch.setattr(module, "CHUNK", 50)
    chunks = module._even_chunks([torch.zeros(7, 3), torch.zeros(160, 3)])
    assert [len(c) for c in chunks] == [50, 50, 50, 17]
    assert module._even_chunks([torch.zeros(50, 3)])[0].shape == (50, 3)


def test_a_far_offset_does_not_blur_the_distances():
    tokens = blobs(count=600, centres=4)
    assert torch.equal(kmeans([tokens], 4, [0]).labels, kmeans([tokens + 1000.0], 4, [0]).labels)


def test_an_emptied_cluster_begins_anew_far_away():
    tokens = torch.cat([torch.zeros(50, 2), torch.full((50, 2), 10.0), torch.full((1, 2), 1000.0)])
    clustering = kmeans([tokens + torch.randn(101, 2) * 1e-3], 3, range(4))
    assert all(sorted(sizes.tolist()) == [1, 50, 50] for sizes in clustering.sizes)


def test_half_precision_tokens_are_taken_as_they_are():
    tokens = blobs(count=400).bfloat16()
    assert torch.equal(kmeans([tokens], 5, [3]).labels, kmeans([tokens.float()], 5, [3]).labels)


@CUDA
def test_cuda_finds_the_same_clusters():
    tokens = blobs(centres=40)
    here, there = kmeans([tokens], 25, range(5)), kmeans([tokens.cuda()], 25, range(5))
    assert float(there.inertia.mean()) == pytest.approx(float(here.inertia.mean()), rel=0.01)
    assert torch.equal(kmeans([tokens.cuda()], 25, range(5)).labels, there.labels)
