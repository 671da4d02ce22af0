"""Files and folders that are complete or absent, whatever interrupts their writer."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError

from harness.errors import StoreError

Content = TypeVar("Content")
# What reading a file that is not there, or a folder in its place, raises: damage, and not a disk
# that cannot be read for a moment.
ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
ATTEMPTS, PAUSE = 3, 0.2  # to read a file, and seconds between two
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REMEDIES = {
    **dict.fromkeys(FULL, "free space"),
    errno.EROFS: "choose a folder that can be written to",
    errno.EACCES: "make the folder writable",
    errno.EPERM: "make the folder writable",
    errno.EMFILE: "let the process open more files (ulimit -n)",
    errno.ENFILE: "let the machine open more files",
}


@contextlib.contextmanager
def store_errors(root: Path) -> Iterator[None]:
    """Turn an OSError of the block, or what safetensors makes of one, into a StoreError.

    An error with a file that is not in the store stays what it is.

    Args:
        root: The folder that is being written to, for the message.

    Raises:
        StoreError: Says what failed and what to do.
    """
    try:
        yield
    except SafetensorError as error:
        raise _cannot_write(root, str(error), "free space or make the folder writable") from error
    except OSError as error:
        if not _inside(error.filename, root):
            raise
        remedy = REMEDIES.get(error.errno or 0, "see to the disk, or make the folder writable")
        raise _cannot_write(root, error.strerror or str(error), remedy) from error


def _cannot_write(root: Path, reason: str, remedy: str) -> StoreError:
    return StoreError(
        f"cannot write to the store {root}: {reason}. Complete entries are untouched; {remedy} (or"
        " choose another store with store=PATH) and run the same command again"
    )


def _inside(path: object, root: Path) -> bool:
    """Whether an error's file is in the store; errors of writing and syncing name none."""
    if not isinstance(path, str | bytes):
        return True
    file = Path(os.path.abspath(os.fsdecode(path)))
    absolute = Path(os.path.abspath(root))
    return file.is_relative_to(absolute) or absolute.is_relative_to(file)


def read_patiently(read: Callable[[], Content], what: str) -> Content:
    """What `read` returns, tried again where the disk cannot be read for a moment.

    Args:
        read: Reads files of the store.
        what: What it reads, for the message.

    Raises:
        OSError: One of ABSENT.
        StoreError: The disk cannot be read; nothing was changed.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return read()
        except ABSENT:
            raise
        except OSError as error:
            if attempt == ATTEMPTS:
                raise StoreError(
                    f"cannot read {what} now: {error.strerror or error}. It stays where it is; see"
                    " to the disk and run the same command again"
                ) from error
            time.sleep(PAUSE)
    raise AssertionError("unreachable")


def stats_below(path: Path) -> Iterator[os.stat_result]:
    """Of a path and all that is below it; links are not followed.

    What another process removes at the same time is left out.
    """
    paths = [str(path)]
    for folder, folders, files in os.walk(path):
        paths += [os.path.join(folder, name) for name in (*folders, *files)]
    for one in paths:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            yield os.lstat(one)


def remove_tree(folder: Path) -> None:
    """Remove a folder; what another process removes at the same time is no error."""

    def ignore_gone(_call: object, _path: str, error: tuple[object, BaseException, object]) -> None:
        if not isinstance(error[1], FileNotFoundError):
            raise error[1]

    shutil.rmtree(folder, onerror=ignore_gone)


@contextlib.contextmanager
def complete_or_absent(final: Path, partial: Path) -> Iterator[None]:
    """Rename the folder `partial` to `final` when the block ends without an exception.

    Otherwise nothing is left of it. Where `final` exists by then, it stays as it is.

    Args:
        final: The name of the finished folder.
        partial: A folder on the same disk that does not exist yet.

    Raises:
        OSError: The folder cannot be written or renamed.
    """
    partial.mkdir(parents=True)
    try:
        yield
        for file in partial.iterdir():
            _sync(file)
        final.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.rename(final)
        except OSError as error:
            # Another writer was first. A network file system may report that by the error before
            # it shows the folder.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) and not final.is_dir():
                raise
        _sync(final.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def replace_file(path: Path, text: str) -> None:
    """Write a file, or replace one, so that readers see all of the old text or all of the new.

    Raises:
        OSError: The file or its folder cannot be written; an old file stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    try:
        partial.write_text(text, encoding="utf-8")
        _sync(partial)
        partial.replace(path)
        _sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
