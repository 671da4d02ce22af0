"""stage=verify: check that every entry of a store holds what was written to it."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.progress import Progress
from harness.stages.base import Job, Outcome
from harness.store.atomic import stats_below
from harness.store.kinds import KINDS, Kind, check, set_aside, unreferenced
from harness.store.store import Store
from harness.store.tensors import CorruptEntry
from reports.records.schema import NewerSchema
from reports.report.lines import bytes_text


@dataclass
class Checked:
    """The entries of one kind in a store.

    Attributes:
        entries: How many there are, of a kind that can be checked.
        bytes: Size of all files.
        damaged: Entries with what is wrong with them.
        newer: Entries that a newer version of the harness wrote, with what it says.
        unreadable: Entries that the disk does not give now, with why.
        orphans: Entries that nothing refers to.
    """

    entries: int = 0
    bytes: int = 0
    damaged: list[tuple[Path, str]] = field(default_factory=list)
    newer: list[tuple[Path, str]] = field(default_factory=list)
    unreadable: list[tuple[Path, str]] = field(default_factory=list)
    orphans: list[Path] = field(default_factory=list)


def run(jobs: Sequence[Job], progress: Progress) -> Outcome:
    """Check every entry of the store; damaged ones, and those that cannot be read, have failed.

    Damaged ones are set aside, to be made again, unless `dry_run`; all others stay.
    """
    return sum((_verify(job, progress) for job in jobs), Outcome())


def _verify(job: Job, progress: Progress) -> Outcome:
    store = Store(Path(job.config.store))
    kinds = inspect(store.root)
    progress.table(
        ("kind", "entries", "size", "damaged", "orphans"),
        [
            (name, str(k.entries), bytes_text(k.bytes), str(len(k.damaged)), str(len(k.orphans)))
            for name, k in kinds.items()
        ],
    )
    for name, kind in kinds.items():
        for path, reason in kind.damaged:
            progress.message(f"DAMAGED {path}: {reason}")
            if not job.config.dry_run and _is_damaged(KINDS[name], path):
                set_aside(store, KINDS[name], path.name, reason)
        for path, reason in kind.newer:
            progress.message(f"NEWER {path}: {reason}")
        for path, reason in kind.unreadable:
            progress.message(f"UNREADABLE {path}: {reason}; it stays where it is")
        for path in kind.orphans:
            progress.message(f"ORPHAN {path}: nothing refers to it")
    damaged = sum(len(kind.damaged) for kind in kinds.values())
    unreadable = sum(len(kind.unreadable) for kind in kinds.values())
    done = (
        "dry run: nothing was changed"
        if job.config.dry_run
        else "what is damaged was set aside, and is made again when it is needed"
    )
    progress.message(
        f"verify: {damaged} damaged of {sum(kind.entries for kind in kinds.values()):,} entries"
        + (f"; {done}" if damaged else "")
        + (f"; {unreadable} cannot be read now" if unreadable else "")
    )
    return Outcome(failed=int(damaged + unreadable > 0))


def inspect(root: Path) -> dict[str, Checked]:
    """Everything in a store, by the name of its kind. Nothing is changed."""
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    return {folder.name: _inspect_kind(root, folder.name) for folder in folders}


def _inspect_kind(root: Path, name: str) -> Checked:
    folder, kind = root / name, KINDS.get(name)
    result = Checked(bytes=size_of(folder))
    if kind is None or kind.lifetime == "leftover":
        result.orphans = sorted(folder.iterdir())
        result.entries = len(result.orphans) if kind is None else 0
    elif kind.read is not None:
        for entry in sorted(folder.iterdir()):
            result.entries += 1
            try:
                check(kind, entry)
            except NewerSchema as error:
                result.newer.append((entry, str(error)))
            except CorruptEntry as error:
                if entry.exists():  # else another process has removed it
                    result.damaged.append((entry, str(error)))
            except OSError as error:
                result.unreadable.append((entry, error.strerror or str(error)))
        damaged = {entry for entry, _ in result.damaged}
        result.orphans = [entry for entry in unreferenced(root, kind) if entry not in damaged]
    return result


def _is_damaged(kind: Kind, entry: Path) -> bool:
    """Whether an entry that was damaged is so still: another process may have made it again."""
    try:
        check(kind, entry)
    except (CorruptEntry, OSError):
        return entry.exists()
    except NewerSchema:
        pass
    return False


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; of a link, not of what it leads to."""
    return sum(one.st_size for one in stats_below(path) if not stat.S_ISDIR(one.st_mode))
