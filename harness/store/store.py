"""The store: a directory of entries that are complete or absent.

An entry is the folder KIND/KEY. KIND is one of `harness.store.kinds`; KEY is the digest of
everything that the entry was made from. Entries are built in `partial/` and renamed, so that a
folder with its final name is always complete. Where two processes write the same entry the first
one wins, and the other finds it.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from loguru import logger
from pydantic import BaseModel
from torch import Tensor

from harness import distributed
from harness.errors import StoreError
from harness.store import claims
from harness.store.atomic import (
    complete_or_absent,
    read_patiently,
    remove_tree,
    replace_file,
    store_errors,
)
from harness.store.marker import require_usable, write_marker
from harness.store.tensors import CorruptEntry, read_verified, write_tensors
from reports.records.schema import NewerSchema, read_checked
from reports.records.sealed_json import seal, sealed_text, strict_json

Schema = TypeVar("Schema", bound=BaseModel)
VALUE = "value.json"
PARTIAL, CORRUPT, CLAIMS = "partial", "corrupt", "claims"


def safe_name(text: str) -> str:
    """A name for one part of a path, whatever a model, method or suite is called.

    Returns:
        At most 100 characters, without separators and without a leading dot; never empty.
    """
    return re.sub(r"[^\w.-]+", "-", text).strip(".-")[:100] or "unnamed"


class Store:
    """Entries below one folder, made by any number of processes at once.

    Methods that write raise StoreError where the disk is full or cannot be written to. Methods that
    read set a damaged entry aside in `corrupt/` and then report it as absent, so that it is made
    again.

    Args:
        root: The folder; it is made where it does not exist.

    Raises:
        ConfigError: The folder is somebody else's, see `harness.store.marker`.
        StoreError: The folder cannot be made or written to.
    """

    def __init__(self, root: Path):
        self.root = root
        with store_errors(root):
            require_usable(root)
            root.mkdir(parents=True, exist_ok=True)
            probe = root / f".probe-{secrets.token_hex(4)}"
            probe.write_bytes(b"")
            probe.unlink()
            write_marker(root)

    # ---------------------------------------------------------------------- entries
    def path(self, kind: str, key: str) -> Path:
        """Where an entry is or would be."""
        return self.root / kind / key

    def has(self, kind: str, key: str) -> bool:
        """Whether an entry exists; its content is not looked at."""
        return self.path(kind, key).is_dir()

    @contextlib.contextmanager
    def create(self, kind: str, key: str, *, replacing: bool = False) -> Iterator[Path]:
        """Give a temporary folder that becomes the entry when the block ends without an exception.

        The SHA-256 of every JSON file is written next to it.

        Args:
            kind: Of the entry.
            key: Of the entry.
            replacing: Whether it takes the place of an entry of that key; else that one stays.
        """
        partial = self._temporary(kind, key)
        with store_errors(self.root), complete_or_absent(self.path(kind, key), partial):
            yield partial
            for file in sorted(partial.glob("*.json")):
                seal(file, f"{kind}/{key}")
            if replacing:
                self.discard(kind, key)

    def discard(self, kind: str, key: str) -> None:
        """Remove an entry that is no longer needed; at any moment it is complete or absent."""
        with store_errors(self.root):
            partial = self._temporary(kind, key)
            partial.parent.mkdir(exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # another process was first
                self.path(kind, key).rename(partial)
                remove_tree(partial)

    def set_aside(self, kind: str, key: str, reason: str) -> None:
        """Move a damaged entry to `corrupt/`, so that it is made again, and log a warning.

        Args:
            kind: Of the entry.
            key: Of the entry.
            reason: What is wrong with it, for the warning.
        """
        with store_errors(self.root):
            (self.root / CORRUPT).mkdir(exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # another process was first
                self.path(kind, key).rename(
                    self.root / CORRUPT / f"{kind}-{key}-{secrets.token_hex(4)}"
                )
        logger.warning(
            f"{kind} entry {key} is damaged ({reason}); it was set aside in {CORRUPT}/ and is made"
            " again"
        )

    def write_file(self, path: Path, text: str) -> None:
        """Write or replace one file atomically."""
        with store_errors(self.root):
            replace_file(path, text)

    def _temporary(self, kind: str, key: str) -> Path:
        return self.root / PARTIAL / f"{kind}-{key}-{secrets.token_hex(4)}"

    # ---------------------------------------------------------------------- contents
    def load_record(self, kind: str, key: str, file: str, schema: type[Schema]) -> Schema | None:
        """A JSON file of an entry, checked against its schema.

        Returns:
            None where the entry is absent or was damaged.

        Raises:
            StoreError: A newer version of the harness wrote it, or it cannot be read now. It stays
                where it is.
        """
        if not self.has(kind, key):
            return None
        path = self.path(kind, key) / file
        try:
            return read_patiently(lambda: read_checked(path, schema, sealed=True), str(path))
        except NewerSchema as error:
            raise StoreError(
                f"{self.path(kind, key)} was {error}, or choose another store with store=PATH"
            ) from error
        except (OSError, ValueError) as error:
            self.set_aside(kind, key, str(error).splitlines()[0])
            return None

    def load_value(self, kind: str, key: str) -> Any:
        """The JSON value of an entry; None where it is absent or was damaged.

        Raises:
            StoreError: It cannot be read now.
        """
        if not self.has(kind, key):
            return None
        path = self.path(kind, key) / VALUE
        try:
            return strict_json(read_patiently(lambda: sealed_text(path, required=True), str(path)))
        except (OSError, ValueError) as error:
            self.set_aside(kind, key, str(error))
            return None

    def cached(self, kind: str, key: str, make: Callable[[], Any]) -> Any:
        """The JSON value of an entry, made and stored where it is absent.

        Args:
            kind: Of the entry.
            key: Digest of everything that the value depends on.
            make: Computes the value; never None, NaN or infinite.
        """
        if (value := self.load_value(kind, key)) is not None:
            return value
        with self.claim(kind, key):
            if (value := self.load_value(kind, key)) is None:
                value = make()
                with self.create(kind, key) as folder:
                    text = json.dumps(value, allow_nan=False)
                    (folder / VALUE).write_text(text, encoding="utf-8")
        return value

    def save_tensors(
        self, kind: str, key: str, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]
    ) -> None:
        """Store tensors by name, with a SHA-256 for each, and JSON values that go with them."""
        with self.create(kind, key) as folder:
            write_tensors(folder, tensors, meta)

    def load_tensors(self, kind: str, key: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """What `save_tensors` stored: (tensors, meta); None where it is absent or was damaged.

        Raises:
            StoreError: It cannot be read now.
        """
        if not self.has(kind, key):
            return None
        path = self.path(kind, key)
        try:
            return read_patiently(lambda: read_verified(path), str(path))
        except CorruptEntry as error:
            self.set_aside(kind, key, str(error))
            return None

    # ---------------------------------------------------------------------- other processes
    @contextlib.contextmanager
    def claim(self, kind: str, key: str) -> Iterator[None]:
        """A best-effort lock: other processes that claim the same wait until the block ends.

        See `harness.store.claims`. The processes of one torchrun work together and lock nothing.
        """
        if distributed.world_size() > 1:
            yield
            return
        path = self._claims() / f"{kind}-{key}"
        with store_errors(self.root):
            claim = claims.acquire(path, kind)
        with claims.renewed(claim):
            yield

    @contextlib.contextmanager
    def running(self, kind: str, keys: Sequence[str]) -> Iterator[Callable[[str], None]]:
        """Announce to `is_running` that this process makes these entries; locks nobody out.

        Yields:
            A function to be called with the key of each entry that is done.
        """
        folder, marks = self._claims(), {}
        with store_errors(self.root):
            for key in keys:
                self.is_running(kind, key)  # removes what killed processes left
                name = f"{_mark(kind, key)}{secrets.token_hex(4)}"
                marks[key] = claims.acquire(folder / name, kind)
        with claims.renewed(*marks.values()):
            yield lambda key: marks[key].release()

    def is_running(self, kind: str, key: str) -> bool:
        """Whether a process that is alive makes this entry; marks of dead ones are removed."""
        for mark in (self.root / CLAIMS).glob(f"{_mark(kind, key)}*"):
            with contextlib.suppress(OSError):
                if claims.is_held(mark):
                    return True
                mark.unlink()
        return False

    def _claims(self) -> Path:
        with store_errors(self.root):
            (self.root / CLAIMS).mkdir(exist_ok=True)
        return self.root / CLAIMS


def _mark(kind: str, key: str) -> str:
    """How the names of the marks of one entry begin."""
    return f"at-{kind}-{key}-"
