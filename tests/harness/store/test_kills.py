"""A kill at any step that renames or removes something loses nothing."""

import os
import shutil
import time

import pytest

from harness.progress import SILENT
from harness.stages import gc
from harness.stages.base import read_job
from harness.stages.verify import inspect
from harness.store.answers import AnswerLog
from harness.store.store import Store
from tests.harness.store.kills import killed_at_each_step


def answers(first, last):
    return {f"q{i}": {"response": str(i)} for i in range(first, last)}


def log_of_three_batches(root):
    shutil.rmtree(root, ignore_errors=True)
    log = AnswerLog(Store(root), "key")
    for first in (0, 4, 8):
        log.append(answers(first, first + 4))
    return log


@pytest.mark.parametrize("known", [12, 6], ids=["all", "a smaller limit"])
def test_r35_a_kill_at_any_step_of_compaction_loses_no_answer(tmp_path, known):
    log, kills = log_of_three_batches(tmp_path / "runs"), 0
    for _ in killed_at_each_step(lambda: log.compact(answers(0, known))):
        kills += 1
        assert log.load() == answers(0, 12)
        log.compact(answers(0, known))  # as the next command does
        assert log.load() == answers(0, 12)
        assert len(list(log.folder.glob("*.json"))) == 1
        log_of_three_batches(tmp_path / "runs")
    assert kills >= 4  # one rename and three removals


def test_r35_compaction_twice_keeps_the_joined_file(store):
    log = AnswerLog(store, "key")
    log.append(answers(0, 2))
    log.append(answers(0, 4))  # the name that the joined file will have
    log.compact(answers(0, 4))
    log.compact(answers(0, 4))
    assert log.load() == answers(0, 4)


def test_r35_compaction_beside_a_larger_limit_keeps_what_that_one_adds(store, monkeypatch):
    log, other = AnswerLog(store, "key"), AnswerLog(store, "key")
    log.append(answers(0, 2))
    log.append(answers(2, 4))
    other.append(answers(4, 6))  # before the files are listed
    append = log.append

    def append_late(joined):
        other.append(answers(6, 8))  # after they are listed
        return append(joined)

    monkeypatch.setattr(log, "append", append_late)
    log.compact(answers(0, 4))
    assert log.load() == answers(0, 8)


def test_r35_compaction_leaves_a_file_it_cannot_read(store):
    log = AnswerLog(store, "key")
    log.append(answers(0, 2))
    log.append(answers(2, 4))
    strange = log.folder / "strange.json"
    strange.write_text("{")
    log.compact(answers(0, 4))
    assert strange.exists()


def test_r35_a_kill_at_any_step_of_adding_an_entry_leaves_it_complete_or_absent(tmp_path):
    store = Store(tmp_path / "runs")
    for _ in killed_at_each_step(lambda: store.cached("scores", "key", lambda: [1])):
        assert store.load_value("scores", "key") in (None, [1])
        assert not list((store.root / "corrupt").glob("*"))
    assert store.load_value("scores", "key") == [1]


def test_r35_a_kill_at_any_step_of_setting_aside_keeps_the_other_entries(tmp_path):
    store = Store(tmp_path / "runs")
    for key in ("good", "bad"):
        store.cached("scores", key, lambda: [1])
    (store.path("scores", "bad") / "value.json").write_text("[2]")
    for _ in killed_at_each_step(lambda: store.set_aside("scores", "bad", "changed")):
        assert store.path("scores", "bad").is_dir()
    assert not store.has("scores", "bad")
    assert store.load_value("scores", "good") == [1]


def test_r35_a_kill_at_any_step_of_gc_leaves_every_entry_complete_or_absent(tmp_path):
    root = tmp_path / "runs"
    store = Store(root)
    job = read_job([f"store={root}", "stage=gc", "gc.everything=true"])

    def fill():
        for kind in ("scores", "entropy"):
            store.cached(kind, "key", lambda: [1])
        AnswerLog(store, "key").append(answers(0, 2))
        day_ago = time.time() - 86400
        for path in root.rglob("*"):
            os.utime(path, (day_ago, day_ago))

    fill()
    kills = 0
    for _ in killed_at_each_step(lambda: gc.run([job], SILENT)):
        kills += 1
        assert not any(kind.damaged for kind in inspect(root).values())
        fill()
    assert kills > 6


def test_r35_answers_that_another_process_joins_while_they_are_read_are_found(store, monkeypatch):
    log = AnswerLog(store, "key")
    for first in (0, 2, 4):
        log.append(answers(first, first + 2))
    read, seen = AnswerLog.read, []

    def read_late(path):
        if not seen:  # the files are listed, and none is read
            seen.append(path)
            monkeypatch.setattr(AnswerLog, "read", staticmethod(read))
            AnswerLog(store, "key").compact(answers(0, 6))
        return read(path)

    monkeypatch.setattr(AnswerLog, "read", staticmethod(read_late))
    assert log.load() == answers(0, 6)
