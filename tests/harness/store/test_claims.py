"""A claim makes others wait until it is released or its owner is gone."""

import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from harness.store import claims
from harness.store.store import Store


@pytest.fixture
def claim(store):
    """The file of a claim that nobody holds yet."""
    (store.root / "claims").mkdir()
    return store.root / "claims" / "results-key"


def seconds_to_claim(store):
    start = time.monotonic()
    with store.claim("results", "key"):
        return time.monotonic() - start


def dead_process():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def test_a_claim_makes_others_wait_until_it_is_released_and_the_user_is_told_once(
    store, monkeypatch
):
    order, warnings = [], []
    monkeypatch.setattr("harness.store.claims.WARN_AFTER", 0.3)
    monkeypatch.setattr("harness.store.claims.logger.warning", warnings.append)

    def second():
        with store.claim("results", "key"):
            order.append("second")

    with store.claim("results", "key"):
        waiting = threading.Thread(target=second)
        waiting.start()
        time.sleep(0.8)
        order.append("first")
    waiting.join(timeout=10)
    assert order == ["first", "second"]
    (warning,) = warnings
    assert f"waiting for process {os.getpid()} on {socket.gethostname()}" in warning
    assert not list((store.root / "claims").iterdir())


@pytest.mark.parametrize("stamp", [-1e9, 0.0, 1e9], ids=["long ago", "now", "in the future"])
def test_a_claim_that_is_not_renewed_is_void_whatever_its_time_stamp(
    store, claim, monkeypatch, stamp
):
    monkeypatch.setattr("harness.store.claims.STALE", 0.5)
    claim.write_text("elsewhere 7 token")
    os.utime(claim, (time.time() + stamp,) * 2)
    assert 0.4 < seconds_to_claim(store) < 5
    assert not list(claim.parent.iterdir())


def test_a_claim_that_is_renewed_holds_whatever_its_time_stamp(store, claim, monkeypatch):
    monkeypatch.setattr("harness.store.claims.STALE", 0.5)
    claim.write_text("elsewhere 7 token")
    stop = threading.Event()

    def renew():  # by a machine whose clock is a year behind
        stamp = time.time() - 3e7
        while not stop.wait(0.1):
            stamp += 0.1
            os.utime(claim, (stamp,) * 2)

    renewing = threading.Thread(target=renew)
    renewing.start()
    threading.Timer(1.5, stop.set).start()
    assert seconds_to_claim(store) > 1.5
    renewing.join()


def test_who_lost_a_claim_neither_renews_nor_releases_that_of_its_successor(claim):
    mine = claims.try_acquire(claim)
    claims._take_away(claim, mine.content)
    theirs = claims.try_acquire(claim)
    os.utime(claim, (1, 1))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(claims, "STALE", 0.06)
        with claims.renewed(mine):
            time.sleep(0.1)
    assert claim.stat().st_mtime == 1
    assert theirs.is_ours()
    theirs.release()
    assert not claim.exists()


def test_a_claim_that_changed_hands_before_it_could_be_taken_away_stays(claim):
    old = claims.try_acquire(claim)
    old.release()
    new = claims.try_acquire(claim)
    claims._take_away(claim, old.content)
    assert new.is_ours()
    assert list(claim.parent.iterdir()) == [claim]


def test_a_claim_of_a_dead_process_of_this_machine_is_void_at_once(store, claim):
    claim.write_text(f"{socket.gethostname()} {dead_process()}")
    assert seconds_to_claim(store) < 5


def test_the_process_number_of_another_machine_says_nothing(store, claim, monkeypatch):
    monkeypatch.setattr("harness.store.claims.STALE", 1.0)
    claim.write_text(f"elsewhere {dead_process()} token")
    assert seconds_to_claim(store) > 1


@pytest.mark.parametrize("stamp", [-120.0, 120.0])
def test_a_mark_with_a_stamp_far_from_now_runs_no_more(store, stamp):
    mark = store._claims() / "at-cells-d-0000"
    mark.write_text("elsewhere 7 token")
    assert store.is_running("cells", "d")
    os.utime(mark, (time.time() + stamp,) * 2)
    assert not store.is_running("cells", "d")


def test_an_entry_is_running_until_it_is_done_or_its_process_is_gone(store):
    with store.running("cells", ["a", "b"]) as finished:
        assert Store(store.root).is_running("cells", "a")
        assert not store.is_running("cells", "c")
        finished("a")
        assert not store.is_running("cells", "a")
        assert store.is_running("cells", "b")
    assert not store.is_running("cells", "b")
    mark = store.root / "claims" / "at-cells-d-0000"
    mark.write_text(f"{socket.gethostname()} {dead_process()}")
    assert not store.is_running("cells", "d")
    assert not mark.exists()


def test_the_processes_of_one_torchrun_lock_nothing(store, monkeypatch):
    monkeypatch.setattr("harness.distributed.world_size", lambda: 2)
    with store.claim("results", "key"), store.claim("results", "key"):
        pass
