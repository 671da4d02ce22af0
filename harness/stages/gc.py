"""stage=gc: free what no result of a store needs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from harness.progress import Progress
from harness.stages.base import Job, Outcome
from harness.stages.verify import size_of
from harness.store.atomic import remove_tree, stats_below, store_errors
from harness.store.kinds import KINDS, unreferenced
from harness.store.store import CORRUPT, Store
from reports.report.lines import bytes_text

ABANDONED = 3600.0  # seconds without a change after which nobody is thought to work on an entry


def run(jobs: Sequence[Job], progress: Progress) -> Outcome:
    """Free what no result needs of the store of every job."""
    return sum((_free(job, progress) for job in jobs), Outcome())


def _free(job: Job, progress: Progress) -> Outcome:
    """Free what no result needs: statistics, factors, features and drawn data, orphans, what killed
    writers and damaged entries left; with `gc.everything` also the bank, answers and scores, of
    which further variants would be made.
    """
    store, config = Store(Path(job.config.store)), job.config
    rows, total = [], 0
    for name, paths in _garbage(store.root, everything=config.gc.everything).items():
        size = sum(map(size_of, paths))
        total += size
        rows.append((name, str(len(paths)), bytes_text(size)))
        if not config.dry_run:
            with store_errors(store.root):
                for path in paths:
                    _remove(store, path)
    progress.table(("freed", "entries", "size"), rows)
    progress.message(
        f"gc: {bytes_text(total)}"
        f" {'would be freed; dry run: nothing was changed' if config.dry_run else 'freed'}"
    )
    return Outcome()


def _garbage(root: Path, *, everything: bool) -> dict[str, list[Path]]:
    """Entries that may go, by kind: damaged ones at once, others when nobody has touched them for
    a while, since another process may be at work on them.
    """
    lifetimes = {"rebuildable", "leftover"} | ({"reusable"} if everything else set())
    garbage = {}
    for kind in KINDS.values():
        folder = root / kind.name
        if kind.lifetime in lifetimes:
            entries = sorted(folder.iterdir()) if folder.is_dir() else []
        else:
            entries = unreferenced(root, kind)
        freed = [entry for entry in entries if kind.name == CORRUPT or _abandoned(entry)]
        if freed:
            garbage[kind.name] = freed
    return garbage


def _abandoned(path: Path) -> bool:
    newest = max((one.st_mtime for one in stats_below(path)), default=time.time())
    return time.time() - newest > ABANDONED


def _remove(store: Store, path: Path) -> None:
    """A link goes, and not what it leads to; a folder is complete or absent under its name."""
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
    elif KINDS[path.parent.name].lifetime == "leftover":
        remove_tree(path)
    else:
        store.discard(path.parent.name, path.name)
