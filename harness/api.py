"""The harness from Python: run an evaluation, read a store as tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import pyarrow

from harness.errors import CellError, ConfigError
from harness.progress import SILENT, Progress
from harness.stages.base import Outcome, read_job
from harness.stages.registry import find_stage
from harness.store.marker import require_store
from reports.report.leaderboard import build
from reports.report.lines import Line
from reports.report.read import read_store
from reports.report.references import compare_with_references
from reports.report.tables import RESULT_SCHEMA, comparison_rows, result_rows

Table = Literal["scores", "comparisons", "answers", "blocks"]
TABLES: tuple[Table, ...] = ("scores", "comparisons", "answers", "blocks")


def evaluate(
    model: str = "mini",
    method: str = "luq",
    *,
    suites: Sequence[str] = ("mini",),
    limit: int | None = None,
    store: str | Path = "runs",
    overrides: Sequence[str] = (),
    progress: Progress = SILENT,
) -> pyarrow.Table:
    """Quantize a model and evaluate it, as `python -m harness` does with the same names.

    What the store has already is neither quantized nor evaluated again.

    Args:
        model: A model of conf/model; for others give `overrides=["model.name=mine",
            "model.path=FOLDER"]`.
        method: A method of conf/method.
        suites: Suites of conf/suite.
        limit: Questions of each suite; None for all.
        store: Folder that keeps everything.
        overrides: Further keys as on the command line: `["method.k=2", "calibration.alpha=0"]`.
        progress: Where the work reports to.

    Returns:
        A row for each metric of each suite, with the columns of `read(store)`.

    Raises:
        ConfigError: The request cannot be carried out as written.
        CellError: A variant could not be quantized or evaluated; the others are in the store.
        StoreError: The store cannot be read or written.
    """
    if isinstance(suites, str) or isinstance(overrides, str) or not suites:
        raise ConfigError(
            f"suites and overrides are lists, and suites is not empty; they are {suites!r} and "
            f"{overrides!r}"
        )
    given = [f"model={model}", f"method={method}", f"store={store}"]
    given += [f"limit={limit}"] if limit is not None else []
    outcome = Outcome()
    for suite in suites:
        job = read_job([*given, f"suite={suite}", *overrides])
        outcome += find_stage("evaluate").run([job], progress)
    if outcome.reasons:
        raise CellError("; ".join(outcome.reasons))
    return pyarrow.Table.from_pylist(list(result_rows(outcome.rows)), RESULT_SCHEMA)


def read(store: str | Path = "runs", table: Table = "scores") -> pyarrow.Table:
    """What a store holds, as a table; `.to_pandas()` makes a data frame of it.

    Args:
        store: Folder of a store. It is only read.
        table: `scores`: a row for each metric of each cell. `comparisons`: a row for each variant,
            reference and metric, paired question by question. `answers`: a row for each question
            and variant. `blocks`: a row for each decoder block of each variant.

    Raises:
        ConfigError: For a folder that is not there or no store, or another table.
    """
    if table not in TABLES:
        raise ConfigError(f"table is {table!r}; choose one of {', '.join(TABLES)}")
    require_store(Path(store))
    rows, _failures, _problems = read_store(Path(store))
    if table == "scores":
        return pyarrow.Table.from_pylist(list(result_rows(rows)), RESULT_SCHEMA)
    return pyarrow.Table.from_pylist(list(_RECORDS[table](build(rows, [], []).lines)))


def _comparisons(lines: Sequence[Line]) -> Iterator[Mapping[str, object]]:
    return comparison_rows(compare_with_references(lines))


def _answers(lines: Sequence[Line]) -> Iterator[Mapping[str, object]]:
    for line in lines:
        for row in line.results:
            shared = _variant(line) | {"suite": row.cell.suite}
            for answer in row.result.answers:
                yield shared | answer.model_dump()


def _blocks(lines: Sequence[Line]) -> Iterator[Mapping[str, object]]:
    for line in lines:
        for number, block in enumerate(line.cell.blocks):
            yield _variant(line) | {"block": number} | block.model_dump()


def _variant(line: Line) -> dict[str, object]:
    return {
        "model": line.model,
        "variant": line.label,
        "alpha": line.alpha,
        "calibration_seed": line.cell.calibration_seed,
    }


_RECORDS: Mapping[str, Callable[[Sequence[Line]], Iterable[Mapping[str, object]]]] = {
    "comparisons": _comparisons,
    "answers": _answers,
    "blocks": _blocks,
}
