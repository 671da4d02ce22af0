"""The schema of a result: what one variant answered on one suite, and what that scores."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from reports.records.sealed_json import sealed_text, strict_json

SCHEMA_VERSION = 2  # 1 had no blocks, pictures or made_with
Version = Literal[1, 2]
KEY = r"^[0-9A-Za-z_-]{0,128}$"  # a name of one folder and nothing else
Schema = TypeVar("Schema", bound=BaseModel)
Status = Literal["answered", "empty", "unparseable", "error", "data_error"]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Answer(Strict):
    """One question of one variant. cluster: what it shares a picture (or pair, or circular group)
    with; scores: by metric, 0 to 1, or for the perplexity of a window of text its loss in nats a
    token. group: MME's category or POPE's split; gold, said, parsed: of questions for yes or no,
    whether "yes" is right, whether it was said, and whether it was either.
    """

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


class MetricScore(Strict):
    """score, ci_low, ci_high: in the metric's own unit, 0 to `maximum`; the interval covers 95 %.
    None: no score was given. A perplexity has no maximum; there it is the score itself, and lower
    is better.
    """

    metric: str
    score: float | None
    ci_low: float | None
    ci_high: float | None
    n: int = Field(ge=0)
    maximum: float = Field(gt=0)
    primary: bool
    statistic: str = "mean"


class SuiteResult(Strict):
    """Everything that one content of weights gave on one suite. data_errors: questions whose
    picture cannot be read, which no variant is asked: they count as wrong for all alike.
    batch_size: the smallest that memory allowed. pictures: where small copies of them lie, or "".
    """

    schema_version: Version = SCHEMA_VERSION
    suite: str
    suite_title: str
    limit: int | None
    n: int
    errors: int
    empty: int
    unparseable: int
    data_errors: int = 0
    batch_size: int | None = None
    pictures: str = Field(default="", pattern=KEY)
    metrics: list[MetricScore]
    answers: list[Answer]


class Block(Strict):
    """One decoder block of a variant. kept: the formats of its weights. output_error: the share of
    its linears' outputs, on calibration data, that quantization changes; entropy: of its
    activations, in bits. None: not measured.
    """

    kept: str
    paper_bits: float
    stored_bits: float
    output_error: float | None = None
    entropy: float | None = None


class Cell(Strict):
    """One named variant on one suite: how it was asked for, what it stores, and where its result
    lies. low, high: short names of its quantizers. low_quantizer, high_quantizer, candidates: the
    same as data, `method` and every field; empty for full precision, and in cells that were written
    before they were recorded. made_with: versions and machine.
    """

    schema_version: Version = SCHEMA_VERSION
    model: str
    method: str
    low: str
    high: str
    low_quantizer: dict[str, Any] | None = None
    high_quantizer: dict[str, Any] | None = None
    candidates: list[dict[str, Any]] = []
    k: int
    order: str
    inputs: str = "fp"
    budget_bits: float | None = None
    alpha: float
    calibration_seed: int
    paper_bits: float
    stored_bits: float
    stored_bytes: int
    suite: str
    limit: int | None
    variant: str
    result: str = Field(pattern=KEY)
    command: str
    seconds: float
    questions: int = 0
    blocks: list[Block] = []
    made_with: dict[str, str] = {}
    events: list[str]

    def uses(self, low: Mapping[str, Any] | None, high: Mapping[str, Any] | None) -> bool:
        """Whether the variant has these quantizers, each given by its method and the options that
        matter; None for full precision. In a cell that was written before quantizers were
        recorded, their short names tell the method and its bits or variant.
        """
        if self.candidates or self.budget_bits is not None:
            return False
        return _agrees(self.low_quantizer or _from_name(self.low), low) and _agrees(
            self.high_quantizer or _from_name(self.high), high
        )

    def events_of(self, block: int) -> list[str]:
        """Those of one decoder block."""
        start = f"block {block} "
        return [event.removeprefix(start) for event in self.events if event.startswith(start)]

    @model_validator(mode="before")
    @classmethod
    def _without_plan(cls, values: Any) -> Any:
        """Schema 1 kept each block as a line of text without its paper bits."""
        first = isinstance(values, dict) and values.get("schema_version") == 1
        return (
            {name: value for name, value in values.items() if name != "plan"} if first else values
        )


def _from_name(name: str) -> dict[str, Any]:
    """What the short name of a quantizer tells, such as `gptq-4` or `billm-code`."""
    method, _, detail = name.partition("-")
    option = {"bits": int(detail)} if detail.isdigit() else {"variant": detail} if detail else {}
    return {"method": method, **option}


def _agrees(recorded: Mapping[str, Any], wanted: Mapping[str, Any] | None) -> bool:
    return (wanted or {"method": "none"}).items() <= recorded.items()


class Failure(Strict):
    """A cell that could not be filled, and why."""

    schema_version: Version = SCHEMA_VERSION
    model: str
    method: str
    k: int
    suite: str
    limit: int | None
    error: str
    command: str


class Row(Strict):
    """A cell and its result."""

    cell: Cell
    result: SuiteResult

    @property
    def label(self) -> str:
        return variant_label(self.cell)


class Problem(Strict):
    """An entry of the store that cannot be read; shown, never skipped in silence."""

    path: str
    reason: str


def variant_label(cell: Cell) -> str:
    """The name of a variant in tables: the method, and what distinguishes it."""
    inputs = "" if cell.inputs == "fp" else f", {cell.inputs}"
    if cell.budget_bits is not None:
        return (
            f"{cell.method} {cell.budget_bits:g}"
            f" bits{'' if cell.order == 'divergence by block' else f', {cell.order}'}{inputs}"
        )
    if cell.low == "none" or cell.k == 0:
        return cell.method + inputs
    order = "" if cell.order == "entropy" else f", {cell.order}"
    return f"{cell.method} k={cell.k}{order}{inputs}"


def read_store(root: Path) -> tuple[list[Row], list[Failure], list[Problem]]:
    """All complete cells with their results, the recorded failures, and what could not be read.

    Of cells that differ only in the number of questions, the one with most is kept. Two results of
    equally many questions that differ in a score are a problem, which is told; the first by name is
    shown.
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
            (
                cell.order if cell.k or cell.budget_bits is not None else ""
            ),  # with no block low there is no order
            cell.inputs,
            cell.budget_bits,
            cell.alpha,
            cell.calibration_seed,
            cell.suite,
        )
        row = Row(cell=cell, result=result)
        if (
            key in rows
            and rows[key].result.n == result.n
            and rows[key].result.metrics != result.metrics
        ):
            told = (
                f"a second result for {row.label} on {cell.suite}, with other scores than"
                f" {rows[key].cell.result}, which is shown"
            )
            problems.append(Problem(path=str(path), reason=told))
        if key not in rows or rows[key].result.n < result.n:
            rows[key] = row
    failures = [
        f
        for path in sorted((root / "failures").glob("*.json"))
        if (f := _read(path, Failure, problems)) is not None
    ]
    return list(rows.values()), failures, problems


def _read(path: Path, schema: type[Schema], problems: list[Problem]) -> Schema | None:
    try:
        return read_checked(path, schema)
    except (OSError, ValueError) as error:
        problems.append(Problem(path=str(path), reason=reason_of(error)))
        return None


def read_checked(path: Path, schema: type[Schema]) -> Schema:
    """A file of this schema.

    Raises OSError, NewerSchema, or another ValueError where it is not what was written or does not
    fit.
    """
    text = sealed_text(path)
    refuse_newer(text)
    return schema.model_validate_json(text)


class NewerSchema(ValueError):
    """A file of a newer harness."""


def refuse_newer(text: str) -> None:
    """Raise NewerSchema for the JSON text of a schema that this version does not know; whatever
    else is wrong is for others to say.
    """
    try:
        found = strict_json(text)
    except ValueError:
        return
    version = found.get("schema_version") if isinstance(found, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise NewerSchema(
            f"written by a newer harness (schema {version}, this one reads up to {SCHEMA_VERSION});"
            " update luq-harness"
        )


def reason_of(error: Exception) -> str:
    """In a line: of fields that do not fit, the first."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    return (
        f"{error.error_count()} fields do not fit schema {SCHEMA_VERSION}, the first: {place}:"
        f" {first['msg']}"
    )


CSV_COLUMNS = (
    "model",
    "method",
    "low",
    "high",
    "k",
    "order",
    "inputs",
    "budget_bits",
    "alpha",
    "calibration_seed",
    "paper_bits",
    "stored_bits",
    "stored_bytes",
    "suite",
    "metric",
    "score",
    "ci_low",
    "ci_high",
    "n",
    "errors",
    "empty",
    "unparseable",
    "data_errors",
    "batch_size",
)


def long_form(rows: Iterable[Row]) -> Iterator[dict[str, object]]:
    """One record a metric, in the columns of results.csv."""
    for row in rows:
        shared = {
            **row.cell.model_dump(),
            **row.result.model_dump(
                include={"errors", "empty", "unparseable", "data_errors", "batch_size"}
            ),
        }
        for metric in row.result.metrics:
            record = {**shared, **metric.model_dump()}
            yield {column: record[column] for column in CSV_COLUMNS}


def write_csv(rows: Iterable[Row], path: Path) -> None:
    write_records(CSV_COLUMNS, long_form(rows), path)


def write_records(
    columns: Sequence[str], records: Iterable[Mapping[str, object]], path: Path
) -> None:
    """Text that a spreadsheet would run as a formula is quoted with an apostrophe."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for record in records:
            writer.writerow({name: _defused(value) for name, value in record.items()})


def _defused(value: object) -> object:
    return (
        "'" + value
        if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r")
        else value
    )


def to_json(entry: BaseModel) -> str:
    """Readable JSON without NaN."""
    return json.dumps(entry.model_dump(mode="json"), indent=1, allow_nan=False)
