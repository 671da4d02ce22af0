"""The stages `verify` and `gc`: whether a store is what it promises, and what of it no result
needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from harness.progress import Progress
from harness.stages.base import Job, Outcome
from harness.stages.cells import CELL_FILE
from harness.store.answers import AnswerLog
from harness.store.atomic import store_errors
from harness.store.store import VALUE, Store
from harness.store.tensors import CorruptEntry, read_verified
from reports.records.measurements import FILE as MEASUREMENT
from reports.records.measurements import read_measurement
from reports.records.results import Cell, Failure, NewerSchema, SuiteResult, read_checked
from reports.records.sealed_json import sealed_text, strict_json
from reports.report.leaderboard import bytes_text
from reports.report.samples import INDEX, PICTURES

TENSOR_KINDS = ("bank", "stats", "factors", "features", "states")
VALUE_KINDS = ("scores", "entropy", "block_errors", "calibration_pictures")
MADE_AGAIN = (
    "stats",
    "factors",
    "features",
    "states",
    "data",
)  # whatever they were for is made or can be made again
BUILDING_BLOCKS = (
    "bank",
    "answers",
    *VALUE_KINDS,
)  # no result needs them, the next variant or a larger limit does
LEFT_BEHIND = ("partial", "corrupt", "claims")
OTHERS = ("report", "logs", "tracking", "submissions", "gate", "export", "slurm")


Entry = TypeVar("Entry", Cell, SuiteResult)


@dataclass
class Kind:
    """What verification found of one kind of entry. damaged:

    (path, reason); newer: the same, of a newer harness; orphans: nothing points to them.
    """

    entries: int = 0
    bytes: int = 0
    damaged: list[tuple[Path, str]] = field(default_factory=list)
    newer: list[tuple[Path, str]] = field(default_factory=list)
    orphans: list[Path] = field(default_factory=list)


def run(jobs: Sequence[Job], progress: Progress) -> Outcome:
    """Check every entry of the store; damaged ones count as failed.

    They are set aside, to be made again, unless `dry_run`.
    """
    return sum((_verify(job, progress) for job in jobs), Outcome())


def _verify(job: Job, progress: Progress) -> Outcome:
    store = Store(Path(job.config.store))
    found = inspect(store.root)
    progress.table(
        ("kind", "entries", "size", "damaged", "orphans"),
        [
            (name, str(k.entries), bytes_text(k.bytes), str(len(k.damaged)), str(len(k.orphans)))
            for name, k in found.items()
        ],
    )
    for name, kind in found.items():
        for path, reason in kind.damaged:
            progress.message(f"DAMAGED {path}: {reason}")
            if not job.config.dry_run:
                _set_aside(store, name, path, reason)
        for path, reason in kind.newer:
            progress.message(f"NEWER {path}: {reason}")
        for path in kind.orphans:
            progress.message(f"ORPHAN {path}: nothing points to it")
    damaged = sum(len(kind.damaged) for kind in found.values())
    done = (
        "dry run: nothing was changed"
        if job.config.dry_run
        else "what is damaged was set aside, and is made again when it is needed"
    )
    progress.message(
        f"verify: {damaged} damaged of {sum(kind.entries for kind in found.values()):,} entries"
        + (f"; {done}" if damaged else "")
    )
    return Outcome(failed=int(damaged > 0))


def inspect(root: Path) -> dict[str, Kind]:
    """Everything in a store, by kind. Nothing is changed."""
    found: dict[str, Kind] = {}
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        kind = found[folder.name] = Kind(bytes=size_of(folder))
        check = _check_of(folder.name)
        entries = sorted(folder.iterdir()) if folder.name not in (*OTHERS, *LEFT_BEHIND) else []
        for entry in entries:
            kind.entries += 1
            if check is None:
                kind.orphans.append(entry)
            elif error := _error(check, entry):
                (kind.newer if isinstance(error, NewerSchema) else kind.damaged).append(
                    (entry, _told(error))
                )
        if folder.name in LEFT_BEHIND:
            kind.orphans += sorted(folder.iterdir())
    for name, paths in unreferenced(root).items():
        damaged = {path for path, _ in found[name].damaged}
        found[name].orphans += [path for path in paths if path not in damaged]
    return found


def _check_of(kind: str) -> Callable[[Path], object] | None:
    if kind in TENSOR_KINDS:
        return read_verified
    if kind in VALUE_KINDS:
        return lambda entry: strict_json(sealed_text(entry / VALUE))
    return _CHECKS.get(kind)


def _answers(entry: Path) -> None:
    for path in entry.glob("*.json"):
        AnswerLog.read(path)


def _pictures(entry: Path) -> None:
    for names in strict_json(sealed_text(entry / INDEX)).values():
        for name in names:
            if not (entry / name).is_file():
                raise ValueError(f"{name} is gone")


def _any_file(entry: Path) -> None:
    if not any(entry.rglob("*")):
        raise ValueError("it is empty")


_CHECKS: dict[str, Callable[[Path], object]] = {
    "cells": lambda entry: read_checked(entry / CELL_FILE, Cell),
    "results": lambda entry: read_checked(entry / "result.json", SuiteResult),
    "failures": lambda path: read_checked(path, Failure),
    "measurements": lambda entry: read_measurement(entry / MEASUREMENT),
    "answers": _answers,
    PICTURES: _pictures,
    "data": _any_file,
}


def _error(check: Callable[[Path], object], entry: Path) -> Exception | None:
    try:
        check(entry)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, CorruptEntry) as error:
        return error
    return None


def _told(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def unreferenced(root: Path) -> dict[str, list[Path]]:
    """Results that no cell points to, and pictures that no result points to."""
    results = {
        cell.result
        for path in (root / "cells").glob(f"*/{CELL_FILE}")
        if (cell := _read(path, Cell)) is not None
    }
    pictures = {
        r.pictures
        for path in (root / "results").glob("*/result.json")
        if (r := _read(path, SuiteResult)) is not None
    }
    wanted = {"results": results, PICTURES: pictures}
    return {
        name: [path for path in sorted((root / name).iterdir()) if path.name not in keys]
        for name, keys in wanted.items()
        if (root / name).is_dir()
    }


def _read(path: Path, schema: type[Entry]) -> Entry | None:
    try:
        return read_checked(path, schema)
    except (OSError, ValueError):
        return None


def size_of(path: Path) -> int:
    return sum(one.lstat().st_size for one in _files(path))


def _files(path: Path) -> Iterator[Path]:
    if path.is_symlink() or path.is_file():
        yield path
    else:
        yield from (one for one in path.rglob("*") if one.is_symlink() or one.is_file())


def _set_aside(store: Store, kind: str, path: Path, reason: str) -> None:
    if kind == "answers":
        AnswerLog(
            store, path.name
        ).load()  # sets aside the file that is damaged, and leaves the others
    elif path.is_dir():
        store.set_aside(kind, path.name, reason)
    else:
        with store_errors(store.root):
            (store.root / "corrupt").mkdir(exist_ok=True)
            path.rename(store.root / "corrupt" / f"{kind}-{path.name}")
