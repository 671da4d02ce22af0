import json
import os
import resource
import subprocess
import sys

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import StoreError
from harness.store import TENSORS, AnswerLog, CorruptEntry, Store, read_verified


@pytest.fixture
def entry(store):
    store.save_tensors("bank", "key", {"a": torch.arange(6.0), "b": torch.zeros(2, 2)}, {"note": 1})
    return store.path("bank", "key")


def test_an_entry_is_absent_until_it_is_complete(store):
    def fail(folder):
        (folder / "half").write_text("x")
        assert not store.has("results", "key")
        raise RuntimeError

    with pytest.raises(RuntimeError), store.creating("results", "key") as folder:
        fail(folder)
    assert not store.has("results", "key")
    assert not list((store.root / "partial").iterdir())


def test_the_first_writer_wins_and_the_second_does_not_fail(store):
    with store.creating("results", "key") as late:
        with store.creating("results", "key") as early:
            (early / "x").write_text("early")
        (late / "x").write_text("late")
    assert (store.path("results", "key") / "x").read_text() == "early"


def test_tensors_come_back_bit_for_bit(store, entry):
    tensors, meta = store.load_tensors("bank", "key")
    assert torch.equal(tensors["a"], torch.arange(6.0))
    assert meta == {"note": 1}


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "schema", "missing"])
def test_a_damaged_entry_is_set_aside_and_made_again(store, entry, damage):
    path = entry / TENSORS
    if damage == "flip":
        data = bytearray(path.read_bytes())
        data[-3] ^= 1
        path.write_bytes(data)
        with pytest.raises(CorruptEntry, match=r"tensor b does not have the SHA-256|tensor a does not have the SHA-256"):
            read_verified(entry)
    elif damage == "truncate":
        path.write_bytes(path.read_bytes()[:-8])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "schema":
        (entry / "manifest.json").write_text('{"other": 1}')
    else:
        path.unlink()
    assert store.load_tensors("bank", "key") is None
    assert not store.has("bank", "key")
    assert len(list((store.root / "corrupt").iterdir())) == 1
    store.save_tensors("bank", "key", {"a": torch.ones(1)}, {})
    assert store.load_tensors("bank", "key") is not None


def test_a_store_that_cannot_be_a_folder_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write to the store .*store=PATH"):
        Store(tmp_path / "file" / "runs")


def test_a_read_only_store_is_refused_with_what_to_do(tmp_path):
    if os.geteuid() == 0:
        target = "/proc/luq-store"  # root may write anywhere but here
    else:
        (tmp_path / "locked").mkdir(mode=0o500)
        target = str(tmp_path / "locked" / "runs")
    with pytest.raises(StoreError, match="make the folder writable"):
        Store(__import__("pathlib").Path(target))


def test_a_full_disk_is_one_clear_error_and_leaves_complete_entries_intact(store, entry):
    """RLIMIT_FSIZE in a process of its own: writes beyond 64 KiB fail as on a full disk."""
    script = f"""
import resource, signal, torch
from pathlib import Path
from harness.errors import StoreError
from harness.store import AnswerLog, Store
store = Store(Path({str(store.root)!r}))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
def file():
    with store.creating("results", "big") as folder:
        (folder / "x").write_bytes(b"0" * 1_000_000)
def tensors():
    store.save_tensors("bank", "big", {{"a": torch.zeros(1_000_000)}}, {{}})
def answers():
    AnswerLog(store, "big").append({{"q": {{"response": "0" * 1_000_000}}}})
for write in (file, tensors, answers):
    try:
        write()
    except StoreError as error:
        print("StoreError", error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.count("StoreError cannot write to the store") == 3
    assert done.stdout.count("run the same command again") == 3
    assert not store.has("results", "big")
    assert not store.has("bank", "big")
    assert AnswerLog(store, "big").load() == {}
    assert store.load_tensors("bank", "key") is not None
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_answers_survive_and_empty_ones_count_as_answers(store):
    log = AnswerLog(store, "key")
    log.append({"q1": {"response": "yes"}, "q2": {"response": ""}})
    log.append({"q3": {"response": "no"}})
    assert {k: v["response"] for k, v in AnswerLog(store, "key").load().items()} == {"q1": "yes", "q2": "", "q3": "no"}


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["flip", "cut", "garbage"]))
def test_a_damaged_answer_file_loses_only_its_own_answers(tmp_path_factory, where, damage):
    store = Store(tmp_path_factory.mktemp("runs"))
    log = AnswerLog(store, "key")
    log.append({"q1": {"response": "yes"}})
    before = set(log.folder.iterdir())
    log.append({"q2": {"response": "no"}})
    (path,) = set(log.folder.iterdir()) - before
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[where % len(data)] ^= 1 << (where % 7)
    elif damage == "cut":
        data = data[: where % len(data)]
    else:
        data = bytearray(json.dumps({"answers": [where]}).encode())
    path.write_bytes(data)
    assert log.load() == {"q1": {"response": "yes"}}
    assert AnswerLog(store, "key").load() == {"q1": {"response": "yes"}}


def test_compacting_keeps_every_answer_in_one_file(store):
    log = AnswerLog(store, "key")
    for i in range(4):
        log.append({f"q{i}": {"response": str(i)}})
    log.compact(log.load())
    assert len(list(log.folder.glob("*.json"))) == 1
    assert len(log.load()) == 4
