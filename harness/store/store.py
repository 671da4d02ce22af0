"""The store: directories named by digest that are complete or absent, and logs of answers that lose
at most one batch.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from loguru import logger
from pydantic import BaseModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from harness import distributed
from harness.errors import StoreError
from harness.store import digest
from reports.records.results import NewerSchema, read_checked
from reports.records.sealed_json import seal, sealed_text, strict_json

Schema = TypeVar("Schema", bound=BaseModel)
MANIFEST = "manifest.json"
TENSORS = "tensors.safetensors"
VALUE = "value.json"
STALE = 30.0
PATIENCE = 60.0  # seconds of waiting for another process until that is told


def safe_name(text: str) -> str:
    """One part of a path, whatever a model, method or suite is called: no separator, no leading
    dot, no more than 100 characters.
    """
    return re.sub(r"[^\w.-]+", "-", text).strip(".-")[:100] or "unnamed"


class CorruptEntry(Exception):
    """An entry does not hold what it promised."""


@contextlib.contextmanager
def explained(root: Path) -> Iterator[None]:
    """Turn an OSError, or what safetensors makes of one, into a StoreError that says what to do."""
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
    """The folder `partial`, on the same disk, becomes `final` when the block ends without an
    exception; else nothing is left of it.
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
            # Another writer was first; a network file system may tell so by the error before it
            # shows the folder.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) and not final.is_dir():
                raise
        _sync(final.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


class Store:
    """root/KIND/KEY/ directories.

    Writers build aside and rename; the first one wins, the others find its entry.
    """

    def __init__(self, root: Path):
        self.root = root
        with explained(root):
            root.mkdir(parents=True, exist_ok=True)
            probe = root / f".probe-{secrets.token_hex(4)}"
            probe.write_bytes(b"")
            probe.unlink()

    def path(self, kind: str, key: str) -> Path:
        return self.root / kind / key

    def has(self, kind: str, key: str) -> bool:
        return self.path(kind, key).is_dir()

    @contextlib.contextmanager
    def creating(self, kind: str, key: str) -> Iterator[Path]:
        """A temporary folder that becomes the entry when the block ends without an exception."""
        partial = self.root / "partial" / f"{kind}-{key}-{secrets.token_hex(4)}"
        with explained(self.root), complete_or_absent(self.path(kind, key), partial):
            yield partial
            for file in sorted(partial.glob("*.json")):
                seal(file)

    def discard(self, kind: str, key: str) -> None:
        """Remove an entry that nobody needs any more; it is whole or gone at any moment."""
        with explained(self.root):
            away = self.root / "partial" / f"{kind}-{key}-{secrets.token_hex(4)}"
            away.parent.mkdir(exist_ok=True)
            self.path(kind, key).rename(away)
            shutil.rmtree(away)

    def set_aside(self, kind: str, key: str, reason: str) -> None:
        """Move a damaged entry out of the way, to be rebuilt; it stays in corrupt/ for whoever
        wants to know.
        """
        with explained(self.root):
            (self.root / "corrupt").mkdir(exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # another process was first
                self.path(kind, key).rename(
                    self.root / "corrupt" / f"{kind}-{key}-{secrets.token_hex(4)}"
                )
        logger.warning(
            f"{kind} entry {key} is damaged ({reason}); it was set aside in corrupt/ and is made"
            " again"
        )

    def load_entry(self, kind: str, key: str, file: str, schema: type[Schema]) -> Schema | None:
        """A file of an entry, checked against its schema; None where there is no entry, or a
        damaged one that was set aside. Raises StoreError for one of a newer harness, which stays as
        it is.
        """
        if not self.has(kind, key):
            return None
        try:
            return read_checked(self.path(kind, key) / file, schema)
        except NewerSchema as error:
            raise StoreError(
                f"{self.path(kind, key)} was {error}, or choose another store with store=PATH"
            ) from error
        except (OSError, ValueError) as error:
            self.set_aside(kind, key, str(error).splitlines()[0])
            return None

    def read_value(self, kind: str, key: str) -> Any:
        """The JSON value of an entry; None where there is no entry, or a damaged one that was set
        aside.
        """
        if not self.has(kind, key):
            return None
        try:
            return strict_json(sealed_text(self.path(kind, key) / VALUE))
        except (OSError, ValueError) as error:
            self.set_aside(kind, key, str(error))
            return None

    def kept(self, kind: str, key: str, make: Callable[[], Any]) -> Any:
        """The JSON value of an entry, which is made and kept where there is none."""
        if (value := self.read_value(kind, key)) is not None:
            return value
        with self.claimed(kind, key):
            if (value := self.read_value(kind, key)) is None:
                value = make()
                with self.creating(kind, key) as folder:
                    (folder / VALUE).write_text(json.dumps(value, allow_nan=False))
        return value

    def write_file(self, path: Path, text: str) -> None:
        """Replace one file atomically."""
        with explained(self.root):
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
            try:
                partial.write_text(text)
                _sync(partial)
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)

    @contextlib.contextmanager
    def claimed(self, kind: str, key: str) -> Iterator[None]:
        """One process at a time, as far as can be: others wait here until it is done.

        This saves work and nothing hangs on it: a claim whose owner died, or has not renewed it for
        STALE seconds by the clock of the file system, counts for nothing. The processes of one
        torchrun work together and claim nothing.
        """
        if distributed.count() > 1:
            yield
            return
        path = self.root / "claims" / f"{kind}-{key}"
        with explained(self.root):
            path.parent.mkdir(exist_ok=True)
            began, told = time.monotonic(), False
            while not _claim(path):
                time.sleep(0.2)
                if not told and time.monotonic() - began > PATIENCE:
                    told = True
                    logger.warning(
                        f"waiting for {_owner(path)}, which is at work on the same {kind}; should"
                        " it hang, end it, and this goes on"
                    )
        with _renewed(path):
            yield

    @contextlib.contextmanager
    def working(self, kind: str, keys: Sequence[str]) -> Iterator[Callable[[str], None]]:
        """Lets others know that this process is on these entries, and keeps nobody from them.

        Gives what is to be called with the key of an entry that it is done with.
        """
        marks = {
            key: self.root / "claims" / f"at-{kind}-{key}-{secrets.token_hex(4)}" for key in keys
        }
        with explained(self.root):
            (self.root / "claims").mkdir(exist_ok=True)
            for key, mark in marks.items():
                self.is_worked_on(kind, key)  # clears away what killed processes left
                _claim(mark)
        with _renewed(*marks.values()):
            yield lambda key: marks[key].unlink(missing_ok=True)

    def is_worked_on(self, kind: str, key: str) -> bool:
        """Whether a process that is alive is on this entry. Marks of dead ones are cleared away."""
        for mark in (self.root / "claims").glob(f"at-{kind}-{key}-*"):
            with contextlib.suppress(OSError):
                if _held(mark):
                    return True
                mark.unlink()
        return False

    # ---------------------------------------------------------------------- tensors
    def save_tensors(
        self, kind: str, key: str, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]
    ) -> None:
        """Tensors plus a manifest with a SHA-256 for each."""
        with self.creating(kind, key) as folder:
            save_file(
                {name: tensor.contiguous() for name, tensor in tensors.items()}, folder / TENSORS
            )
            hashes = {name: digest.of_tensor(tensor) for name, tensor in tensors.items()}
            (folder / MANIFEST).write_text(
                json.dumps({"meta": meta, "sha256": hashes}, allow_nan=False)
            )

    def load_tensors(self, kind: str, key: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """What `save_tensors` wrote; None where there is no entry, or a damaged one that was set
        aside.
        """
        if not self.has(kind, key):
            return None
        try:
            return read_verified(self.path(kind, key))
        except CorruptEntry as error:
            self.set_aside(kind, key, str(error))
            return None


def read_verified(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors, meta) of a folder, every tensor checked against the manifest.

    Raises CorruptEntry that names the first bad tensor.
    """
    try:
        manifest = strict_json(sealed_text(folder / MANIFEST))
        tensors = load_file(folder / TENSORS)
        hashes, meta = manifest["sha256"], manifest["meta"]
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise CorruptEntry(f"unreadable: {error}") from error
    verify_tensors(tensors, hashes)
    return tensors, meta


def verify_tensors(tensors: Mapping[str, Tensor], hashes: Mapping[str, str]) -> None:
    """Raise CorruptEntry, naming a tensor, unless exactly the promised tensors are there with the
    promised bytes.
    """
    if set(tensors) != set(hashes):
        raise CorruptEntry(f"tensors missing or too many: {sorted(set(tensors) ^ set(hashes))[:4]}")
    for name, tensor in tensors.items():
        if digest.of_tensor(tensor) != hashes[name]:
            raise CorruptEntry(f"tensor {name} does not have the SHA-256 of its manifest")


def _claim(path: Path) -> bool:
    try:
        with path.open("x") as file:
            file.write(f"{socket.gethostname()} {os.getpid()}")
    except FileExistsError:
        with contextlib.suppress(FileNotFoundError):
            if not _held(path):
                path.unlink()
        return False
    return True


def _owner(path: Path) -> str:
    """Who holds a claim, in words."""
    try:
        host, _, process = path.read_text().partition(" ")
    except FileNotFoundError:
        return "another process"
    return f"process {process} on {host}"


def _held(path: Path) -> bool:
    """Whether the owner of a claim renews it and, where it is of this machine, lives.

    Raises FileNotFoundError for a claim that was given back.
    """
    host, _, process = path.read_text().partition(" ")
    if host == socket.gethostname() and process.isdigit():
        try:
            os.kill(int(process), 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass  # somebody else's, and alive
    return _now(path.parent) - path.stat().st_mtime <= STALE


@contextlib.contextmanager
def _renewed(*paths: Path) -> Iterator[None]:
    """Claims are renewed inside, and given back at the end."""
    stop = threading.Event()

    def renew() -> None:
        while not stop.wait(STALE / 6):
            for path in paths:
                with contextlib.suppress(
                    OSError
                ):  # given back already, or the disk is not there for a moment
                    os.utime(path)

    beat = threading.Thread(target=renew, daemon=True)
    beat.start()
    try:
        yield
    finally:
        stop.set()
        beat.join()
        for path in paths:
            path.unlink(missing_ok=True)


def _now(folder: Path) -> float:
    """By the clock that stamps the files of this folder, which may be another machine's."""
    probe = folder / f".now-{secrets.token_hex(4)}"
    probe.touch()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class AnswerLog:
    """Answers of one content of weights on one suite: a file a batch, written whole or not at all.

    A damaged file is set aside and its questions are asked again.
    """

    def __init__(self, store: Store, key: str):
        self.store, self.folder = store, store.path("answers", key)

    def load(self) -> dict[str, dict[str, Any]]:
        """Answers by question digest."""
        answers: dict[str, dict[str, Any]] = {}
        for path in sorted(self.folder.glob("*.json")):
            try:
                answers.update(self.read(path))
            except FileNotFoundError:
                continue  # another process has put it together with the others
            except (OSError, ValueError, KeyError, TypeError) as error:
                logger.warning(f"{path} is damaged ({error}); its questions are asked again")
                with explained(self.store.root), contextlib.suppress(FileNotFoundError):
                    path.rename(path.with_suffix(".damaged"))
        return answers

    @staticmethod
    def read(path: Path) -> dict[str, dict[str, Any]]:
        """Answers of one file.

        Raises OSError, ValueError, KeyError or TypeError for one that is damaged.
        """
        part = strict_json(path.read_text())
        if digest.of_value(part["answers"]) != part["sha256"]:
            raise ValueError("its digest does not fit")
        found: dict[str, dict[str, Any]] = part["answers"]
        return found

    def append(self, answers: Mapping[str, Mapping[str, Any]]) -> None:
        part = {"answers": answers, "sha256": digest.of_value(answers)}
        name = digest.of_value(sorted(answers))
        self.store.write_file(self.folder / f"{name}.json", json.dumps(part, allow_nan=False))

    def compact(self, answers: Mapping[str, Mapping[str, Any]]) -> None:
        """One file instead of many, once a suite is complete."""
        before: Sequence[Path] = list(self.folder.glob("*.json"))
        if len(before) > 1:
            self.append(answers)
            for path in before:
                path.unlink(missing_ok=True)
