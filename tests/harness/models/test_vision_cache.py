"""Features come back as they were, from memory or the store, and never beyond the limits."""

import pytest
import torch

from harness.models.vision_cache import PictureFeatures, VisionCache

CPU = torch.device("cpu")
SIZE = 4 * 8 * 4  # bytes of one picture's features


def features(value):
    return PictureFeatures(torch.full((4, 8), float(value)), torch.tensor([[1, 2, 2]]))


def test_features_in_memory_are_the_object_that_was_added():
    cache, added = VisionCache(), features(1)
    assert not cache.has("a")
    assert cache.load("a", CPU) is None
    cache.add("a", added)
    assert cache.has("a")
    assert cache.load("a", CPU) is added
    assert cache.memory_bytes == SIZE


def test_what_does_not_fit_in_memory_goes_to_the_store_up_to_its_limit(store):
    cache = VisionCache(memory_limit=SIZE)
    cache.attach(store, "model", disk_limit=SIZE)
    for number, picture in enumerate("abc"):
        cache.add(picture, features(number))
    assert (list(cache.memory), cache.memory_bytes, cache.disk_bytes) == (["a"], SIZE, SIZE)
    assert [cache.has(picture) for picture in "abc"] == [True, True, False]
    loaded = cache.load("b", CPU)
    assert torch.equal(loaded.values, features(1).values)
    assert torch.equal(loaded.grid, features(1).grid)
    assert cache.load("c", CPU) is None


def test_without_a_store_only_memory_is_used():
    cache = VisionCache(memory_limit=SIZE)
    cache.add("a", features(0))
    cache.add("b", features(1))
    assert [cache.has(picture) for picture in "ab"] == [True, False]


def test_features_of_another_model_are_not_these(store):
    for origin, known in (("model", False), ("other", False), ("model", True)):
        cache = VisionCache(memory_limit=0)
        cache.attach(store, origin, disk_limit=SIZE)
        assert cache.has("a") == known
        if origin == "model":
            cache.add("a", PictureFeatures(torch.zeros(4, 8)))
            assert cache.load("a", CPU).grid is None


@pytest.mark.parametrize("damage", ["emptied", "removed"])
def test_damaged_features_are_absent(store, damage):
    cache = VisionCache(memory_limit=0)
    cache.attach(store, "model", disk_limit=SIZE)
    cache.add("a", features(1))
    file = next((store.root / "features").glob("*/*.safetensors"))
    file.write_bytes(b"") if damage == "emptied" else file.unlink()
    assert cache.has("a")
    assert cache.load("a", CPU) is None
    assert not cache.has("a")
