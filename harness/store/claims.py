"""Best-effort locks between processes that share a store.

A claim is a file with the host and the process number of its owner, who touches it every few
seconds. A claim is void when its owner died, or when it was not renewed for STALE seconds by the
clock of the file system. Claims save duplicate work; correctness does not depend on them.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from loguru import logger

STALE = 30.0  # seconds without renewal after which a claim is void
POLL_INTERVAL = 0.2  # seconds between two attempts to take a claim
WARN_AFTER = 60.0  # seconds of waiting after which the user is warned


def acquire(path: Path, what: str) -> None:
    """Take a claim as soon as nobody else holds it.

    Args:
        path: The file of the claim. The folder exists.
        what: What the claim protects, for the warning to a user who waits for long.
    """
    start, warned = time.monotonic(), False
    while not try_acquire(path):
        time.sleep(POLL_INTERVAL)
        if not warned and time.monotonic() - start > WARN_AFTER:
            warned = True
            logger.warning(
                f"waiting for {_owner(path)}, which is at work on the same {what}; should it hang,"
                " end it, and this goes on"
            )


def try_acquire(path: Path) -> bool:
    """Take a claim unless another process holds it; remove one that is void.

    Returns:
        Whether the claim is this process's now. It is not on the attempt that removes a void one.
    """
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(f"{socket.gethostname()} {os.getpid()}")
    except FileExistsError:
        with contextlib.suppress(FileNotFoundError):
            if not is_held(path):
                path.unlink()
        return False
    return True


def is_held(path: Path) -> bool:
    """Whether the owner of a claim renews it and, where it runs on this machine, is alive.

    Raises:
        FileNotFoundError: The claim was released.
    """
    host, _, process = path.read_text(encoding="utf-8").partition(" ")
    if host == socket.gethostname() and process.isdigit():
        try:
            os.kill(int(process), 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass  # alive, and another user's
    return _now(path.parent) - path.stat().st_mtime <= STALE


@contextlib.contextmanager
def renewed(*paths: Path) -> Iterator[None]:
    """Renew claims of this process inside the block, and release them at its end."""
    stop = threading.Event()

    def renew() -> None:
        while not stop.wait(STALE / 6):
            for path in paths:
                # Released already, or the disk is unreachable for a moment.
                with contextlib.suppress(OSError):
                    os.utime(path)

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        for path in paths:
            path.unlink(missing_ok=True)


def _owner(path: Path) -> str:
    """The owner of a claim in words."""
    try:
        host, _, process = path.read_text(encoding="utf-8").partition(" ")
    except FileNotFoundError:
        return "another process"
    return f"process {process} on {host}"


def _now(folder: Path) -> float:
    """The time by the clock that stamps the files of this folder: it may be another machine's."""
    probe = folder / f".now-{secrets.token_hex(4)}"
    probe.touch()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink()
