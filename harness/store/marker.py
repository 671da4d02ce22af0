"""The mark of a store: only folders that have it, or are plainly ours, are written to and cleaned.

The marker is a small file at the root with the version of the store's layout. Stores of earlier
versions have none; they are known by holding entries of the harness and nothing but folders and
files that it makes.
"""

from __future__ import annotations

import json
from pathlib import Path

from loguru import logger

from harness.errors import ConfigError
from harness.store.atomic import replace_file
from reports.records.sealed_json import strict_json

MARKER, VERSION = "luq-store.json", 1
# The folders of a store; `harness.store.kinds` says what each holds.
FOLDERS = frozenset(
    "cells results pictures failures measurements bank answers scores entropy block_errors"
    " calibration_pictures stats factors features states data report submissions gate export logs"
    " tracking slurm partial corrupt claims".split()
)
# Files that only entries of a store have.
ENTRIES = (
    "cells/*/cell.json",
    "results/*/result.json",
    "measurements/*/measurement.json",
    "*/*/manifest.json",
    "*/*/value.json",
    "answers/*/*.json",
    "failures/*.json",
)
# What a report leaves at the root.
REPORT = frozenset(("results.csv", "results.parquet", "comparisons.csv", "leaderboard.md"))


def require_store(root: Path) -> None:
    """Check, without writing anything, that a folder is a store.

    Raises:
        ConfigError: It is missing, a file, somebody else's, or of a newer version.
    """
    if not root.exists():
        raise ConfigError(f"there is no store {root}; give the folder that a command wrote to")
    _require_ours(root)
    if not _is_marked(root) and not _holds_entries(root):
        raise ConfigError(f"{root} is no store; give the folder that a command wrote to")


def require_usable(root: Path) -> None:
    """Check, without writing anything, that a folder is a store or may become one.

    Raises:
        ConfigError: It is a file, holds what is not the harness's, or is of a newer version.
    """
    if root.exists():
        _require_ours(root)


def write_marker(root: Path) -> None:
    """Mark a folder that `require_usable` allows as a store.

    Raises:
        OSError: The marker cannot be written.
    """
    if _is_marked(root):
        return
    earlier = _holds_entries(root)
    replace_file(root / MARKER, json.dumps({"schema_version": VERSION}))
    if earlier:
        logger.info(f"{root} is a store of an earlier version; it has a marker now, {MARKER}")


def _require_ours(root: Path) -> None:
    if not root.is_dir():
        raise ConfigError(f"store={root} is a file; give a folder")
    if _is_marked(root):
        return
    names = _names(root)
    foreign = sorted(names - FOLDERS - REPORT)
    # Hydra makes the folder of logs before anything opens the store.
    if foreign or (names - {"logs"} and not _holds_entries(root)):
        raise ConfigError(
            f"{root} is no store: it holds {(foreign or sorted(names))[0]!r}; nothing was changed"
            " there. Give the folder of a store, or a new or empty one, with store=PATH"
        )


def _is_marked(root: Path) -> bool:
    try:
        version = strict_json((root / MARKER).read_text(encoding="utf-8"))["schema_version"]
    except FileNotFoundError:
        return False
    except (ValueError, KeyError, TypeError):
        return True  # damaged, but nobody else's
    if isinstance(version, int) and version > VERSION:
        raise ConfigError(
            f"{root} was made by a newer version of the harness (layout {version}, this one knows"
            f" {VERSION}); update luq-harness, or choose another store with store=PATH"
        )
    return True


def _holds_entries(root: Path) -> bool:
    return any(next(root.glob(pattern), None) is not None for pattern in ENTRIES)


def _names(root: Path) -> set[str]:
    """What is at the root, but for the files that are there for a moment."""
    moment = (".probe-", f".{MARKER}-")
    return {one.name for one in root.iterdir() if not one.name.startswith(moment)}
