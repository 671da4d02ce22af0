"""A claim makes others wait until it is released or its owner is gone."""

import os
import socket
import subprocess
import sys
import threading
import time

import pytest

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


def test_a_claim_that_was_not_renewed_is_void(store, claim):
    claim.touch()
    os.utime(claim, (time.time() - 120,) * 2)
    assert seconds_to_claim(store) < 5
    assert not claim.exists()


def test_a_claim_of_a_dead_process_of_this_machine_is_void_at_once(store, claim):
    claim.write_text(f"{socket.gethostname()} {dead_process()}")
    assert seconds_to_claim(store) < 5


def test_a_claim_of_another_machine_holds_until_it_is_stale(store, claim):
    claim.write_text(f"elsewhere {dead_process()}")
    os.utime(claim, (time.time() - 28,) * 2)
    assert seconds_to_claim(store) > 1


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
