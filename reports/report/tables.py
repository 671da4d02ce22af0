"""The results and comparisons as tables: CSV and Parquet."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow
import pyarrow.parquet

from reports.report.lines import CellResult, Line

RESULT_SCHEMA = pyarrow.schema(
    [
        ("model", pyarrow.string()),
        ("method", pyarrow.string()),
        ("low", pyarrow.string()),
        ("high", pyarrow.string()),
        ("k", pyarrow.int64()),
        ("order", pyarrow.string()),
        ("inputs", pyarrow.string()),
        ("budget_bits", pyarrow.float64()),
        ("alpha", pyarrow.float64()),
        ("calibration_seed", pyarrow.int64()),
        ("paper_bits", pyarrow.float64()),
        ("stored_bits", pyarrow.float64()),
        ("stored_bytes", pyarrow.int64()),
        ("suite", pyarrow.string()),
        ("metric", pyarrow.string()),
        ("score", pyarrow.float64()),
        ("ci_low", pyarrow.float64()),
        ("ci_high", pyarrow.float64()),
        ("n", pyarrow.int64()),
        ("errors", pyarrow.int64()),
        ("empty", pyarrow.int64()),
        ("unparseable", pyarrow.int64()),
        ("data_errors", pyarrow.int64()),
        ("batch_size", pyarrow.int64()),
    ]
)
RESULT_COLUMNS = tuple(RESULT_SCHEMA.names)
COMPARISON_COLUMNS = (
    "model",
    "variant",
    "reference",
    "suite",
    "metric",
    "score",
    "reference_score",
    "difference",
    "low",
    "high",
    "p",
    "p_holm",
    "test",
    "clusters",
    "questions",
)


def result_rows(results: Iterable[CellResult]) -> Iterator[dict[str, object]]:
    """Yield a row for each metric of each cell, in the columns of results.csv."""
    counts = {"errors", "empty", "unparseable", "data_errors", "batch_size"}
    for one in results:
        shared = {**one.cell.model_dump(), **one.result.model_dump(include=counts)}
        for metric in one.result.metrics:
            values = {**shared, **metric.model_dump()}
            yield {column: values[column] for column in RESULT_COLUMNS}


def comparison_rows(lines: Iterable[Line]) -> Iterator[dict[str, object]]:
    """Yield a row for each variant, reference and metric, in the columns of comparisons.csv.

    Scores are in the metric's own unit.
    """
    for line in lines:
        for comparison in (line.vs_full, line.vs_four):
            if comparison is None:
                continue
            for one in comparison.suites:
                paired = one.paired
                values = (
                    line.model,
                    line.label,
                    comparison.reference,
                    one.suite,
                    paired.metric,
                    paired.first,
                    paired.second,
                    paired.difference,
                    paired.low,
                    paired.high,
                    paired.p,
                    comparison.p[one.suite, paired.metric],
                    paired.test,
                    paired.clusters,
                    paired.questions,
                )
                yield dict(zip(COMPARISON_COLUMNS, values, strict=True))


def write_parquet(results: Iterable[CellResult], path: Path) -> None:
    """Write the results as Parquet."""
    rows = list(result_rows(results))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, RESULT_SCHEMA), path)


def write_csv(columns: Sequence[str], rows: Iterable[Mapping[str, object]], path: Path) -> None:
    """Write rows as CSV; text that a spreadsheet would run as a formula gets an apostrophe."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for row in rows:
            writer.writerow({name: _defused(value) for name, value in row.items()})


def _defused(value: object) -> object:
    return (
        "'" + value
        if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r")
        else value
    )
