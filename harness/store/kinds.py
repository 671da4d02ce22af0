"""The kinds of entries in a store: what each holds, how it is checked, and when it may be freed.

A kind is a folder below the root of a store. To add one, add a row to the table; `stage=verify` and
`stage=gc` follow from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from loguru import logger

from harness.store.answers import AnswerLog
from harness.store.atomic import ABSENT
from harness.store.store import CLAIMS, CORRUPT, PARTIAL, VALUE, Store
from harness.store.tensors import CorruptEntry, read_verified
from reports.records.entries import CELL_FILE, MEASUREMENT_FILE, PICTURES_FILE, RESULT_FILE
from reports.records.measurements import read_measurement
from reports.records.results import Cell, Failure, SuiteResult
from reports.records.schema import NewerSchema, read_checked
from reports.records.sealed_json import sealed_text, strict_json

Lifetime = Literal["permanent", "referenced", "reusable", "rebuildable", "leftover"]


@dataclass(frozen=True)
class Kind:
    """One kind of entries.

    Attributes:
        name: The folder.
        content: What one entry holds.
        lifetime: When `stage=gc` frees an entry. `permanent`: never. `referenced`: when no entry of
            `referenced_by` names it. `reusable`: with `gc.everything`; no result needs it, further
            variants or larger limits do. `rebuildable`: always, since it is made again when it is
            needed. `leftover`: always, since only an interruption or damage leaves it there.
        read: Reads an entry and raises an exception if it is damaged. None where entries are
            outputs for people, or none of the kind is expected.
        referenced_by: Kind of the entries that name this one, or "".
        reference: The key that an entry of `referenced_by` names.
        set_aside: Moves what is damaged of an entry out of the way: (store, key, reason).
    """

    name: str
    content: str
    lifetime: Lifetime
    read: Callable[[Path], object] | None = None
    referenced_by: str = ""
    reference: Callable[[Path], str] | None = None
    set_aside: Callable[[Store, str, str], None] | None = None


def check(kind: Kind, entry: Path) -> None:
    """Read an entry, if entries of its kind can be read.

    Raises:
        CorruptEntry: The entry is damaged; the message says in a line how.
        NewerSchema: A newer version of the harness wrote the entry.
        OSError: The entry cannot be read now.
    """
    if kind.read is None:
        return
    try:
        kind.read(entry)
    except NewerSchema:
        raise
    except (*ABSENT, ValueError, KeyError, TypeError, AttributeError, CorruptEntry) as error:
        lines = str(error).splitlines()
        raise CorruptEntry(lines[0] if lines else type(error).__name__) from error


def set_aside(store: Store, kind: Kind, key: str, reason: str) -> None:
    """Move what is damaged of an entry out of the way, so that it is made again."""
    if kind.set_aside is None:
        store.set_aside(kind.name, key, reason)
    else:
        kind.set_aside(store, key, reason)


def unreferenced(root: Path, kind: Kind) -> list[Path]:
    """Entries that no other entry names, where the kind is `referenced`; else none.

    None either, with a warning, while an entry that may name some cannot be read.

    Args:
        root: Of the store.
        kind: Of the entries.
    """
    folder = root / kind.name
    if kind.reference is None or not folder.is_dir():
        return []
    named = set()
    for entry in (root / kind.referenced_by).glob("*"):
        try:
            named.add(kind.reference(entry))
        except (FileNotFoundError, NotADirectoryError):
            continue  # damaged, which `check` reports
        except (OSError, NewerSchema) as error:
            logger.warning(f"no {kind.name} are freed: {entry} cannot be read now ({error})")
            return []
        except ValueError:
            continue
    return [entry for entry in sorted(folder.iterdir()) if entry.name not in named]


def _read_value(entry: Path) -> None:
    strict_json(sealed_text(entry / VALUE, required=True))


def _read_cell(entry: Path) -> Cell:
    return read_checked(entry / CELL_FILE, Cell, sealed=True)


def _read_result(entry: Path) -> SuiteResult:
    return read_checked(entry / RESULT_FILE, SuiteResult, sealed=True)


def _read_answers(entry: Path) -> None:
    for path in entry.glob("*.json"):
        AnswerLog.read(path)


def _set_aside_answers(store: Store, key: str, _reason: str) -> None:
    """Only the damaged files of a log."""
    AnswerLog(store, key).load()


def _read_pictures(entry: Path) -> None:
    for names in strict_json(sealed_text(entry / PICTURES_FILE, required=True)).values():
        for name in names:
            if not (entry / name).is_file():
                raise ValueError(f"{name} is gone")


def _read_any_file(entry: Path) -> None:
    if not any(entry.rglob("*")):
        raise ValueError("it is empty")


_TABLE = (
    # Results and what refers to them.
    Kind("cells", "one variant on one suite", "permanent", _read_cell),
    Kind(
        "results",
        "answers and scores of one content of weights on one suite",
        "referenced",
        _read_result,
        referenced_by="cells",
        reference=lambda entry: _read_cell(entry).result,
    ),
    Kind(
        "pictures",
        "small copies of the pictures of a suite, for the report",
        "referenced",
        _read_pictures,
        referenced_by="results",
        reference=lambda entry: _read_result(entry).pictures,
    ),
    Kind(
        "failures",
        "why a cell could not be made",
        "permanent",
        lambda entry: read_checked(entry, Failure),
    ),
    Kind(
        "measurements",
        "one measurement of the blocks of a model",
        "permanent",
        lambda entry: read_measurement(entry / MEASUREMENT_FILE),
    ),
    # What variants and results are made of.
    Kind("bank", "one decoder block quantized by one method", "reusable", read_verified),
    Kind(
        "answers",
        "answers of one content of weights on one suite, by batch",
        "reusable",
        _read_answers,
        set_aside=_set_aside_answers,
    ),
    Kind("scores", "one score of every decoder block", "reusable", _read_value),
    Kind("entropy", "entropies of one decoder block, by seed", "reusable", _read_value),
    Kind("block_errors", "output error of one quantized decoder block", "reusable", _read_value),
    Kind(
        "calibration_pictures",
        "digests of the pictures in one part of the calibration data",
        "reusable",
        _read_value,
    ),
    # Intermediate results that are large and made again.
    Kind("stats", "Hessians of one decoder block", "rebuildable", read_verified),
    Kind("factors", "factor of one Hessian", "rebuildable", read_verified),
    Kind("features", "vision features of one picture", "rebuildable", read_verified),
    Kind("states", "residual streams in front of one block", "rebuildable", read_verified),
    Kind("data", "questions of one mini suite", "rebuildable", _read_any_file),
    # Outputs for people and other programs.
    Kind("report", "page, tables and figures", "permanent"),
    Kind("submissions", "answers in the form that an official server takes", "permanent"),
    Kind("gate", "verdicts on quantization backends", "permanent"),
    Kind("export", "packed models", "permanent"),
    Kind("logs", "logs of the harness and its workers", "permanent"),
    Kind("tracking", "what trackers recorded", "permanent"),
    Kind("slurm", "scripts and logs of array jobs", "permanent"),
    # Entries that are being made, are damaged, or are claimed.
    Kind(PARTIAL, "entries that are being written", "leftover"),
    Kind(CORRUPT, "damaged entries that were set aside", "leftover"),
    Kind(CLAIMS, "locks and marks of running processes", "leftover"),
)
KINDS = {kind.name: kind for kind in _TABLE}
