"""Tensors come back bit for bit, or the entry is known to be damaged."""

import pytest
import torch

from harness.store.tensors import MANIFEST, TENSORS, CorruptEntry, read_verified
from tests.harness.store.malicious import CANARY, FILES


def test_tensors_come_back_bit_for_bit(store, entry):
    tensors, meta = store.load_tensors("bank", "key")
    assert torch.equal(tensors["a"], torch.arange(6.0))
    assert meta == {"note": 1}


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "schema", "missing"])
def test_r6_a_damaged_entry_is_set_aside_and_made_again(store, entry, damage):
    path = entry / TENSORS
    if damage == "flip":
        data = bytearray(path.read_bytes())
        data[-3] ^= 1
        path.write_bytes(data)
        with pytest.raises(
            CorruptEntry,
            match=r"tensor b does not have the SHA-256|tensor a does not have the SHA-256",
        ):
            read_verified(entry)
    elif damage == "truncate":
        path.write_bytes(path.read_bytes()[:-8])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "schema":
        (entry / MANIFEST).write_text('{"other": 1}')
    else:
        path.unlink()
    assert store.load_tensors("bank", "key") is None
    assert not store.has("bank", "key")
    assert len(list((store.root / "corrupt").iterdir())) == 1
    store.save_tensors("bank", "key", {"a": torch.ones(1)}, {})
    assert store.load_tensors("bank", "key") is not None


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("file", [TENSORS, MANIFEST])
def test_r19_nothing_in_an_entry_runs_or_breaks_the_harness(store, entry, kind, file):
    (entry / file).write_bytes(FILES[kind])
    assert store.load_tensors("bank", "key") is None
    assert not CANARY.exists()
