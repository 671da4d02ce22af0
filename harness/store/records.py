"""Cells, results, failures and measurements as store entries: what the report is made from.

Their schemas are in `reports.records`, which reads a store without the harness.
"""

from __future__ import annotations

from pathlib import Path

from harness.store.store import Store
from reports.records.entries import CELL_FILE, MEASUREMENT_FILE, RESULT_FILE
from reports.records.measurements import Measurement
from reports.records.results import Cell, Failure, SuiteResult
from reports.records.schema import read_checked, to_json
from reports.records.sealed_json import strict_json


def load_cell(store: Store, key: str) -> Cell | None:
    """A stored cell; None where it is absent or was damaged.

    Raises:
        StoreError: A newer version of the harness wrote it.
    """
    return store.load_record("cells", key, CELL_FILE, Cell)


def save_cell(store: Store, key: str, cell: Cell, *, replacing: bool = False) -> None:
    """Store a cell. The result that it names is stored already.

    Args:
        store: Where to.
        key: Of the cell.
        cell: What is stored.
        replacing: Whether it takes the place of a cell of that key; else that one stays.
    """
    with store.create("cells", key, replacing=replacing) as folder:
        (folder / CELL_FILE).write_text(to_json(cell), encoding="utf-8")


def code_of_cell(store: Store, key: str) -> list[str] | None:
    """Digests of the code of a stored cell's quantizers, without a check of the rest; None where
    there is no cell, or it cannot be read.
    """
    try:
        cell = strict_json((store.path("cells", key) / CELL_FILE).read_text(encoding="utf-8"))
        return list(cell.get("code", []))
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def load_result(store: Store, key: str) -> SuiteResult | None:
    """A stored result; None where it is absent or was damaged.

    Raises:
        StoreError: A newer version of the harness wrote it.
    """
    return store.load_record("results", key, RESULT_FILE, SuiteResult)


def save_result(store: Store, key: str, result: SuiteResult) -> None:
    """Store a result. The pictures that it names are stored already."""
    with store.create("results", key) as folder:
        (folder / RESULT_FILE).write_text(to_json(result), encoding="utf-8")


def save_failure(store: Store, key: str, failure: Failure) -> None:
    """Store why a cell could not be made; key: of the cell."""
    store.write_file(_failure(store, key), to_json(failure))


def has_failure(store: Store, key: str) -> bool:
    """Whether the last attempt to make the cell of this key failed."""
    return _failure(store, key).exists()


def load_failure(store: Store, key: str) -> Failure | None:
    """Why the last attempt to make the cell of this key failed; None where it did not, or where
    the record is damaged or a newer harness wrote it: then the attempt is made again.
    """
    try:
        return read_checked(_failure(store, key), Failure)
    except (OSError, ValueError):
        return None


def remove_failure(store: Store, key: str) -> None:
    """Forget the failure of a cell that is made now."""
    _failure(store, key).unlink(missing_ok=True)


def save_measurement(store: Store, key: str, measurement: Measurement) -> None:
    """Store a measurement, in place of an earlier one of the same key."""
    store.write_file(store.path("measurements", key) / MEASUREMENT_FILE, to_json(measurement))


def _failure(store: Store, key: str) -> Path:
    return store.path("failures", f"{key}.json")
