"""Best-effort locks between processes that share a store.

A claim is a file with the host and the process number of its owner and a token that is drawn for
it; its owner touches it every few seconds. Whoever waits for a claim takes it away when its owner
died on this machine, or when the file has not changed for STALE seconds of the waiting process: no
two clocks are compared. A claim is given up, renewed and released only as long as it is one's own.
Claims save duplicate work; correctness does not depend on them.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from loguru import logger

STALE = 30.0  # seconds without renewal after which a claim is void
POLL_INTERVAL = 0.2  # seconds between two attempts to take a claim
WARN_AFTER = 60.0  # seconds of waiting after which the user is warned


@dataclass(frozen=True)
class Claim:
    """A claim of this process.

    Attributes:
        path: Its file.
        content: What it wrote there.
    """

    path: Path
    content: str

    def is_ours(self) -> bool:
        """Whether nobody has taken it away."""
        return _content(self.path) == self.content

    def release(self) -> None:
        """Give it up, unless it has been taken away."""
        if self.is_ours():
            self.path.unlink(missing_ok=True)


def acquire(path: Path, what: str) -> Claim:
    """Take a claim as soon as nobody else holds it.

    Args:
        path: The file of the claim. The folder exists.
        what: What the claim protects, for the warning to a user who waits for long.
    """
    start, warned = time.monotonic(), False
    seen: object = None
    since = start
    while (claim := try_acquire(path)) is None:
        now, state = time.monotonic(), _state(path)
        if state is None:
            continue  # released
        if state != seen:
            seen, since = state, now
        if _owner_died(state[0]) or now - since > STALE:
            _take_away(path, state[0])
            continue
        if not warned and now - start > WARN_AFTER:
            warned = True
            logger.warning(
                f"waiting for {_owner(state[0])}, which is at work on the same {what}; should it"
                " hang, end it, and this goes on"
            )
        time.sleep(POLL_INTERVAL)
    return claim


def try_acquire(path: Path) -> Claim | None:
    """Take a claim; None where there is one already."""
    content = f"{socket.gethostname()} {os.getpid()} {secrets.token_hex(8)}"
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(content)
    except FileExistsError:
        return None
    return Claim(path, content)


def is_held(path: Path) -> bool:
    """Whether the owner of a claim seems to be at work, at one look.

    Its time stamp must be within STALE seconds of the clock that stamps the files of its folder,
    which may be another machine's.

    Raises:
        FileNotFoundError: The claim was released.
    """
    if _owner_died(path.read_text(encoding="utf-8")):
        return False
    return abs(_now(path.parent) - path.stat().st_mtime) <= STALE


@contextlib.contextmanager
def renewed(*claims: Claim) -> Iterator[None]:
    """Renew claims of this process inside the block, and release them at its end."""
    stop = threading.Event()

    def renew() -> None:
        while not stop.wait(STALE / 6):
            for claim in claims:
                # Released already, or the disk is unreachable for a moment.
                with contextlib.suppress(OSError):
                    if claim.is_ours():
                        os.utime(claim.path)

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        for claim in claims:
            claim.release()


def _take_away(path: Path, content: str) -> None:
    """Remove a void claim, and no other that may have come to its place.

    Of several processes that wait for it only one can rename the file. What it renamed by mistake,
    since the claim changed hands between its look and the renaming, it puts back.
    """
    taken = path.with_name(f".void-{path.name}-{secrets.token_hex(4)}")
    try:
        path.rename(taken)
    except FileNotFoundError:
        return
    if _content(taken) != content:
        with contextlib.suppress(FileExistsError):
            os.link(taken, path)
    taken.unlink(missing_ok=True)


def _state(path: Path) -> tuple[str, int] | None:
    """What changes when a claim is renewed or changes hands; None where it is gone."""
    try:
        return path.read_text(encoding="utf-8"), path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def _owner_died(content: str) -> bool:
    """Whether the owner ran on this machine and does not any more."""
    host, _, rest = content.partition(" ")
    process = rest.partition(" ")[0]
    if host != socket.gethostname() or not process.isdigit():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # alive, and another user's
    return False


def _owner(content: str) -> str:
    """The owner of a claim in words."""
    host, _, rest = content.partition(" ")
    return f"process {rest.partition(' ')[0]} on {host}" if rest else "another process"


def _now(folder: Path) -> float:
    """The time by the clock that stamps the files of this folder: it may be another machine's."""
    probe = folder / f".now-{secrets.token_hex(4)}"
    probe.touch()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink()
