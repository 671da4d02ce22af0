"""The entries of a store that a report shows, and those that cannot be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from reports.records.entries import (
    CELL_FILE,
    CELLS,
    FAILURES,
    MEASUREMENT_FILE,
    MEASUREMENTS,
    RESULT_FILE,
    RESULTS,
)
from reports.records.measurements import Measurement, read_measurement
from reports.records.results import Cell, Failure, SuiteResult
from reports.records.schema import Record, read_checked, reason_of
from reports.report.labels import agree, settings_of
from reports.report.lines import CellResult
from reports.statistics.registry import find_statistic


@dataclass(frozen=True)
class Problem:
    """An entry of the store that cannot be read, or that contradicts another one."""

    path: str
    reason: str


def read_store(root: Path) -> tuple[list[CellResult], list[Failure], list[Problem]]:
    """Read all complete cells with their results, the recorded failures, and what is unreadable.

    Of cells that differ only in the number of questions, the one with most is taken. Two results of
    equally many questions that differ in a score are a problem; the first by name is taken. Models
    of one name and of other files have a part of their digest behind their name.
    """
    problems: list[Problem] = []
    cells: dict[tuple[object, ...], list[CellResult]] = {}
    paths = sorted((root / CELLS).glob(f"*/{CELL_FILE}"))
    read = [(path, one) for path in paths if (one := _read_cell(root, path, problems)) is not None]
    named = _named_apart([one for _, one in read])
    for (path, _), one in zip(read, named, strict=True):
        kept = cells.setdefault(_identity(one.cell), [])
        settings = settings_of(one.cell)
        same = [other for other in kept if agree(settings, settings_of(other.cell))]
        if not same:
            kept.append(one)
            continue
        earlier = same[0]
        if earlier.result.n < one.result.n:
            kept[kept.index(earlier)] = one
        elif earlier.result.n == one.result.n and earlier.result.metrics != one.result.metrics:
            reason = (
                f"a second result for {one.label} on {one.cell.suite}, with other scores than"
                f" {earlier.cell.result}, which is shown"
            )
            problems.append(Problem(str(path), reason))
    failures = [
        failure
        for path in sorted((root / FAILURES).glob("*.json"))
        if (failure := _read(path, Failure, problems)) is not None
    ]
    return [one for kept in cells.values() for one in kept], failures, problems


def read_measurements(root: Path) -> tuple[list[Measurement], list[Problem]]:
    """Read all measurements of a store, and name what is unreadable."""
    measurements: list[Measurement] = []
    problems: list[Problem] = []
    for path in sorted((root / MEASUREMENTS).glob(f"*/{MEASUREMENT_FILE}")):
        try:
            measurements.append(read_measurement(path))
        except (OSError, ValueError) as error:
            problems.append(Problem(str(path), reason_of(error)))
    return measurements, problems


def _read_cell(root: Path, path: Path, problems: list[Problem]) -> CellResult | None:
    cell = _read(path, Cell, problems)
    if cell is None:
        return None
    result_path = root / RESULTS / cell.result / RESULT_FILE
    result = _read(result_path, SuiteResult, problems)
    if result is None:
        return None
    try:
        for metric in result.metrics:
            find_statistic(metric.statistic)
    except ValueError as error:
        problems.append(Problem(str(result_path), str(error)))
        return None
    return CellResult(cell, result)


def _named_apart(cells: Sequence[CellResult]) -> list[CellResult]:
    """The cells with their models named so that no two models have one name."""
    digests: dict[str, set[str]] = {}
    for one in cells:
        digests.setdefault(one.cell.model, set()).add(one.cell.model_digest)
    return [
        replace(one, cell=one.cell.model_copy(update={"model": f"{one.cell.model} {digest[:6]}"}))
        if (digest := one.cell.model_digest) and len(digests[one.cell.model] - {""}) > 1
        else one
        for one in cells
    ]


def _identity(cell: Cell) -> tuple[object, ...]:
    """What distinguishes cells that are shown as different ones, beside `settings_of`."""
    ordered = cell.k or cell.budget_bits is not None  # with no block low there is no order
    return (
        cell.model,
        cell.method,
        cell.k,
        cell.order if ordered else "",
        cell.inputs,
        cell.budget_bits,
        cell.suite,
    )


def _read(path: Path, schema: type[Record], problems: list[Problem]) -> Record | None:
    try:
        return read_checked(path, schema)
    except (OSError, ValueError) as error:
        problems.append(Problem(str(path), reason_of(error)))
        return None
