import json
import os
import pickle
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import StoreError
from harness.store.store import TENSORS, AnswerLog, CorruptEntry, Store, read_verified, safe_name

CANARY = Path(tempfile.gettempdir()) / f"luq-canary-{os.getpid()}"


class Canary:
    """What a malicious pickle would do."""

    def __reduce__(self):
        return (Path.touch, (CANARY,))


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


def test_r6_what_is_written_with_an_entry_is_what_is_read_or_it_is_set_aside(store):
    assert store.kept("scores", "key", lambda: [1.5]) == [1.5]
    path = store.path("scores", "key") / "value.json"
    path.write_text(path.read_text().replace("1", "2"))
    assert store.read_value("scores", "key") is None
    assert not store.has("scores", "key")
    assert store.kept("scores", "key", lambda: [1.5]) == [1.5]
    (store.path("scores", "key") / "value.json.sha256").unlink()  # an entry of an earlier version
    assert store.read_value("scores", "key") == [1.5]


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


def test_r7_a_full_disk_is_one_clear_error_and_leaves_complete_entries_intact(store, entry):
    """RLIMIT_FSIZE in a process of its own: writes beyond 64 KiB fail as on a full disk."""
    script = f"""
import resource, signal, torch
from pathlib import Path
from harness.errors import StoreError
from harness.store.store import AnswerLog, Store
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
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
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
    assert {k: v["response"] for k, v in AnswerLog(store, "key").load().items()} == {
        "q1": "yes",
        "q2": "",
        "q3": "no",
    }


@settings(
    max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(st.integers(0, 10_000), st.sampled_from(["flip", "cut", "garbage"]))
def test_r6_a_damaged_answer_file_loses_only_its_own_answers(tmp_path_factory, where, damage):
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


WRITER = """
import random, sys, time
from pathlib import Path
from harness.store.store import AnswerLog, Store
number, root = int(sys.argv[1]), Path(sys.argv[2])
log = AnswerLog(Store(root), "shared")
print("begun", flush=True)
for batch in range(25):
    # every question is asked by two of the writers, as when two processes meet the same variant
    first = (number // 2) * 2500 + batch * 100
    log.append({f"q{i}": {"response": f"answer {i}"} for i in range(first, first + 100)})
    with Store(root).creating("results", f"r{batch}") as folder:
        (folder / "x").write_text(str(number))
"""


def test_r5_eight_writers_of_ten_thousand_rows_lose_none_double_none_and_one_may_die(tmp_path):
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(i), str(tmp_path / "runs")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for i in range(8)
    ]
    writers[0].stdout.readline()
    writers[0].kill()  # while it writes; writer 1 has the same rows
    ends = [writer.communicate(timeout=120) for writer in writers]
    assert [writer.returncode for writer in writers[1:]] == [0] * 7, ends
    store = Store(tmp_path / "runs")
    found = AnswerLog(store, "shared").load()
    assert len(found) == 10_000
    assert all(found[f"q{i}"] == {"response": f"answer {i}"} for i in range(10_000))
    entries = list((store.root / "results").iterdir())
    assert len(entries) == 25
    assert all((entry / "x").read_text() in "01234567" for entry in entries)
    AnswerLog(store, "shared").compact(found)
    assert AnswerLog(store, "shared").load() == found


@pytest.mark.parametrize(
    "name", ["../../x", "/etc/passwd", "a\x00b", "x" * 300, "..", "", "a/b\\c", "naïve model"]
)
def test_r21_a_safe_name_is_one_part_of_a_path(tmp_path, name):
    safe = safe_name(name)
    (tmp_path / safe).mkdir()
    assert (tmp_path / safe).resolve().parent == tmp_path.resolve()
    assert len(safe) <= 100


def test_r21_a_link_in_the_place_of_an_entry_leads_nowhere_when_it_is_set_aside(
    store, entry, tmp_path
):
    outside = tmp_path / "outside"
    entry.rename(outside)
    entry.symlink_to(outside)
    (outside / TENSORS).write_bytes(b"")
    assert store.load_tensors("bank", "key") is None
    assert sorted(path.name for path in outside.iterdir()) == [
        "manifest.json",
        "manifest.json.sha256",
        TENSORS,
    ]


BOMB = {
    "pickle": pickle.dumps(Canary()),
    "deep": b"[" * 100_000,
    "twice": b'{"sha256": {}, "sha256": {}, "meta": {}}',
    "nan": b"NaN",
    "text": b"\xff\xfe",
}


@pytest.mark.parametrize("kind", BOMB)
@pytest.mark.parametrize("file", [TENSORS, "manifest.json"])
def test_r19_nothing_in_an_entry_runs_or_breaks_the_harness(store, entry, kind, file):
    (entry / file).write_bytes(BOMB[kind])
    assert store.load_tensors("bank", "key") is None
    assert not CANARY.exists()


@pytest.mark.parametrize("kind", BOMB)
def test_r19_nothing_in_a_log_of_answers_runs_or_breaks_the_harness(store, kind):
    log = AnswerLog(store, "key")
    log.append({"q1": {"response": "yes"}})
    (log.folder / "other.json").write_bytes(BOMB[kind])
    assert log.load() == {"q1": {"response": "yes"}}
    assert not CANARY.exists()
