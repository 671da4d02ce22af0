"""A log loses at most the batch that was being written, and the answers of a damaged file."""

import json
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.store.answers import AnswerLog
from harness.store.store import Store
from tests.harness.store.malicious import CANARY, FILES


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


def test_r6_no_flipped_bit_of_an_answer_file_goes_unnoticed(store):
    """Names of keys are not below the digest: a `log` that is spelt otherwise is no absent one."""
    log = AnswerLog(store, "key")
    log.append({"q2": {"response": "no"}})
    (path,) = log.folder.iterdir()
    data = path.read_bytes()
    for place in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises((ValueError, KeyError, TypeError)):
            AnswerLog.read(path)


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
from harness.store.answers import AnswerLog
from harness.store.store import Store
number, root = int(sys.argv[1]), Path(sys.argv[2])
log = AnswerLog(Store(root), "shared")
print("begun", flush=True)
for batch in range(25):
    # every question is asked by two of the writers, as when two processes meet the same variant
    first = (number // 2) * 2500 + batch * 100
    log.append({f"q{i}": {"response": f"answer {i}"} for i in range(first, first + 100)})
    with Store(root).create("results", f"r{batch}") as folder:
        (folder / "x").write_text(str(number))
"""


@pytest.mark.slow
@pytest.mark.storm
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


@pytest.mark.parametrize("kind", FILES)
def test_r19_nothing_in_a_log_of_answers_runs_or_breaks_the_harness(store, kind):
    log = AnswerLog(store, "key")
    log.append({"q1": {"response": "yes"}})
    (log.folder / "other.json").write_bytes(FILES[kind])
    assert log.load() == {"q1": {"response": "yes"}}
    assert not CANARY.exists()


def test_r34_a_file_of_another_log_is_damage(store):
    one, other = AnswerLog(store, "one"), AnswerLog(store, "other")
    path = one.append({"q": {"response": "yes"}})
    other.folder.mkdir(parents=True)
    path.rename(other.folder / path.name)
    assert other.load() == {}
    assert [path.suffix for path in other.folder.iterdir()] == [".damaged"]
