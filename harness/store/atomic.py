"""Files and folders that are complete or absent, whatever interrupts their writer."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

from harness.errors import StoreError


@contextlib.contextmanager
def store_errors(root: Path) -> Iterator[None]:
    """Turn an OSError of the block, or what safetensors makes of one, into a StoreError.

    Args:
        root: The folder that is being written to, for the message.

    Raises:
        StoreError: Says what failed and what to do.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StoreError(
            f"cannot write to the store {root}: {reason}. Complete entries are untouched; free"
            " space or make the folder writable (or choose another with store=PATH) and run the"
            " same command again"
        ) from error


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
    finally:
        partial.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
