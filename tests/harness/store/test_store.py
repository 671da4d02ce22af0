"""Entries are complete or absent, whatever interrupts or damages them."""

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import StoreError
from harness.store.answers import AnswerLog
from harness.store.store import Store, safe_name
from harness.store.tensors import TENSORS


def test_an_entry_is_absent_until_it_is_complete(store):
    def fail(folder):
        (folder / "half").write_text("x")
        assert not store.has("results", "key")
        raise RuntimeError

    with pytest.raises(RuntimeError), store.create("results", "key") as folder:
        fail(folder)
    assert not store.has("results", "key")
    assert not list((store.root / "partial").iterdir())


def test_the_first_writer_wins_and_the_second_does_not_fail(store):
    with store.create("results", "key") as late:
        with store.create("results", "key") as early:
            (early / "x").write_text("early")
        (late / "x").write_text("late")
    assert (store.path("results", "key") / "x").read_text() == "early"


def test_r6_what_is_written_with_an_entry_is_what_is_read_or_it_is_set_aside(store):
    assert store.cached("scores", "key", lambda: [1.5]) == [1.5]
    path = store.path("scores", "key") / "value.json"
    path.write_text(path.read_text().replace("1", "2"))
    assert store.load_value("scores", "key") is None
    assert not store.has("scores", "key")
    assert store.cached("scores", "key", lambda: [1.5]) == [1.5]


def test_r34_an_entry_without_its_seal_is_damage(store):
    store.cached("scores", "key", lambda: [1.5])
    (store.path("scores", "key") / "value.json.sha256").unlink()
    assert store.load_value("scores", "key") is None
    assert not store.has("scores", "key")


def test_r34_entries_under_each_others_names_are_damage(store):
    for key in ("one", "other"):
        store.cached("scores", key, lambda: [1.5])
    one, other = store.path("scores", "one"), store.path("scores", "other")
    one.rename(store.root / "between")
    other.rename(one)
    (store.root / "between").rename(other)
    assert store.load_value("scores", "one") is None
    assert store.load_value("scores", "other") is None


def test_r34_an_entry_of_another_kind_is_damage(store):
    store.cached("scores", "key", lambda: [1.5])
    shutil.copytree(store.path("scores", "key"), store.root / "entropy" / "key")
    assert store.load_value("entropy", "key") is None
    assert store.load_value("scores", "key") == [1.5]


def test_r34_a_seal_of_version_0_1_that_names_no_entry_is_taken(store):
    store.cached("scores", "key", lambda: [1.5])
    seal = store.path("scores", "key") / "value.json.sha256"
    seal.write_text(seal.read_text().split()[0])
    assert store.load_value("scores", "key") == [1.5]


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
        Store(Path(target))


def test_r7_a_full_disk_is_one_clear_error_and_leaves_complete_entries_intact(store, entry):
    """RLIMIT_FSIZE in a process of its own: writes beyond 64 KiB fail as on a full disk."""
    script = f"""
import resource, signal, torch
from pathlib import Path
from harness.errors import StoreError
from harness.store.answers import AnswerLog
from harness.store.store import Store
store = Store(Path({str(store.root)!r}))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
def file():
    with store.create("results", "big") as folder:
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
