import pytest
import torch


@pytest.fixture
def entry(store):
    """The folder of an entry with two tensors."""
    store.save_tensors("bank", "key", {"a": torch.arange(6.0), "b": torch.zeros(2, 2)}, {"note": 1})
    return store.path("bank", "key")
