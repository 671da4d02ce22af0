"""The schema of a result: what one variant answered on one suite, and what that scores."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

SCHEMA_VERSION = 1
Schema = TypeVar("Schema", bound=BaseModel)
Status = Literal["answered", "empty", "unparseable", "error", "data_error"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Answer(_Strict):
    """One question of one variant. cluster: what it shares a picture (or pair, or circular group) with; scores: by metric, 0 to 1, or for
    the perplexity of a window of text its loss in nats a token. group: MME's category or POPE's split; gold, said, parsed: of questions for
    yes or no, whether "yes" is right, whether it was said, and whether it was either."""

    question_id: str
    cluster: str
    prompt: str
    target: str
    response: str
    status: Status
    scores: dict[str, float]
    group: str = ""
    gold: bool = False
    said: bool = False
    parsed: bool = True


class MetricScore(_Strict):
    """score, ci_low, ci_high: in the metric's own unit, 0 to `maximum`; the interval covers 95 %. None: no score was given. A perplexity
    has no maximum; there it is the score itself, and lower is better."""

    metric: str
    score: float | None = Field(allow_inf_nan=False)
    ci_low: float | None = Field(allow_inf_nan=False)
    ci_high: float | None = Field(allow_inf_nan=False)
    n: int = Field(ge=0)
    maximum: float = Field(gt=0, allow_inf_nan=False)
    primary: bool
    statistic: str = "mean"


class SuiteResult(_Strict):
    """Everything that one content of weights gave on one suite. data_errors: questions whose picture cannot be read, which no variant is
    asked: they count as wrong for all alike. batch_size: the smallest that memory allowed."""

    schema_version: Literal[1] = 1
    suite: str
    suite_title: str
    limit: int | None
    n: int
    errors: int
    empty: int
    unparseable: int
    data_errors: int = 0
    batch_size: int | None = None
    metrics: list[MetricScore]
    answers: list[Answer]


class Cell(_Strict):
    """One named variant on one suite: how it was asked for, what it stores, and where its result lies. plan: how each block is kept."""

    schema_version: Literal[1] = 1
    model: str
    method: str
    low: str
    high: str
    k: int
    order: str
    inputs: str = "fp"
    budget_bits: float | None = None
    alpha: float
    calibration_seed: int
    paper_bits: float = Field(allow_inf_nan=False)
    stored_bits: float = Field(allow_inf_nan=False)
    stored_bytes: int
    suite: str
    limit: int | None
    variant: str
    result: str
    command: str
    seconds: float
    questions: int = 0
    plan: list[str] = []
    events: list[str]


class Failure(_Strict):
    """A cell that could not be filled, and why."""

    schema_version: Literal[1] = 1
    model: str
    method: str
    k: int
    suite: str
    limit: int | None
    error: str
    command: str


class Row(_Strict):
    """A cell and its result."""

    cell: Cell
    result: SuiteResult

    @property
    def label(self) -> str:
        return variant_label(self.cell)


class Problem(_Strict):
    """An entry of the store that cannot be read; shown, never skipped in silence."""

    path: str
    reason: str


def variant_label(cell: Cell) -> str:
    """The name of a variant in tables: the method, and what distinguishes it."""
    inputs = "" if cell.inputs == "fp" else f", {cell.inputs}"
    if cell.budget_bits is not None:
        return f"{cell.method} {cell.budget_bits:g} bits{'' if cell.order == 'divergence by block' else f', {cell.order}'}{inputs}"
    if cell.low == "none" or cell.k == 0:
        return cell.method + inputs
    order = "" if cell.order == "entropy" else f", {cell.order}"
    return f"{cell.method} k={cell.k}{order}{inputs}"


def read_store(root: Path) -> tuple[list[Row], list[Failure], list[Problem]]:
    """All complete cells with their results, the recorded failures, and what could not be read.

    Of cells that differ only in the number of questions, the one with most is kept.
    """
    problems: list[Problem] = []
    rows: dict[tuple[object, ...], Row] = {}
    for path in sorted((root / "cells").glob("*/cell.json")):
        cell = _read(path, Cell, problems)
        if cell is None:
            continue
        result = _read(root / "results" / cell.result / "result.json", SuiteResult, problems)
        if result is None:
            continue
        key = (
            cell.model,
            cell.method,
            cell.low,
            cell.high,
            cell.k,
            cell.order,
            cell.inputs,
            cell.budget_bits,
            cell.alpha,
            cell.calibration_seed,
            cell.suite,
        )
        if key not in rows or rows[key].result.n < result.n:
            rows[key] = Row(cell=cell, result=result)
    failures = [f for path in sorted((root / "failures").glob("*.json")) if (f := _read(path, Failure, problems)) is not None]
    return list(rows.values()), failures, problems


def _read(path: Path, schema: type[Schema], problems: list[Problem]) -> Schema | None:
    try:
        return schema.model_validate_json(path.read_text())
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        reason = (
            f"{len(error.errors())} fields do not fit schema {SCHEMA_VERSION}: {error.errors()[0]['msg']}"
            if isinstance(error, ValidationError)
            else str(error)
        )
        problems.append(Problem(path=str(path), reason=reason))
        return None


CSV_COLUMNS = (
    "model", "method", "low", "high", "k", "order", "inputs", "budget_bits", "alpha", "calibration_seed", "paper_bits", "stored_bits",
    "stored_bytes", "suite", "metric", "score", "ci_low", "ci_high", "n", "errors", "empty", "unparseable", "data_errors",
    "batch_size",
)  # fmt: skip


def long_form(rows: Iterable[Row]) -> Iterator[dict[str, object]]:
    """One record a metric, in the columns of results.csv."""
    for row in rows:
        shared = {**row.cell.model_dump(), **row.result.model_dump(include={"errors", "empty", "unparseable", "data_errors", "batch_size"})}
        for metric in row.result.metrics:
            record = {**shared, **metric.model_dump()}
            yield {column: record[column] for column in CSV_COLUMNS}


def write_csv(rows: Iterable[Row], path: Path) -> None:
    """Text that a spreadsheet would run as a formula is quoted with an apostrophe."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, CSV_COLUMNS)
        writer.writeheader()
        for record in long_form(rows):
            writer.writerow({name: _defused(value) for name, value in record.items()})


def _defused(value: object) -> object:
    return "'" + value if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def to_json(entry: BaseModel) -> str:
    """Readable JSON without NaN."""
    return json.dumps(entry.model_dump(mode="json"), indent=1, allow_nan=False)
