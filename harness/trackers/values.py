"""What is tracked of a cell, a measurement and a study: numbers, tables and figures."""

from __future__ import annotations

from harness.trackers.base import Tracker, Value
from reports.records.measurements import Entropy, Measurement
from reports.records.results import Cell, SuiteResult
from reports.report.leaderboard import Leaderboard
from reports.report.studies.study import Study

Table = tuple[tuple[str, ...], list[tuple[Value, ...]]]
COUNTS = ("n", "errors", "empty", "unparseable", "data_errors")


def cell_scalars(cell: Cell, result: SuiteResult) -> dict[str, float]:
    """Sizes of the variant, and of its result every metric with its interval and every count."""
    values: dict[str, float] = {
        "paper_bits": cell.paper_bits,
        "stored_bits": cell.stored_bits,
        "stored_bytes": cell.stored_bytes,
        f"{cell.suite}/seconds": cell.seconds,
    }
    for count in COUNTS:
        values[f"{cell.suite}/{count}"] = getattr(result, count)
    for metric in result.metrics:
        for part, value in (("", metric.score), ("_low", metric.ci_low), ("_high", metric.ci_high)):
            if value is not None:
                values[f"{cell.suite}/{metric.metric}{part}"] = value
    return values


def mean_scalars(board: Leaderboard) -> dict[str, float]:
    """The mean over suites of each variant, with its interval, in per cent."""
    return {
        f"{line.model} {line.label}/mean{part}": value
        for line in board.lines
        if line.mean is not None
        for part, value in (
            ("", line.mean.value),
            ("_low", line.mean.low),
            ("_high", line.mean.high),
        )
    }


def leaderboard_table(board: Leaderboard) -> Table:
    """Head and rows: sizes and scores of each variant, as the report's table shows them."""
    head = ("model", "variant", "paper bits", "stored bits", "stored bytes", *board.titles)
    rows: list[tuple[Value, ...]] = [
        (
            line.model,
            line.label,
            line.paper_bits,
            line.stored_bits,
            line.stored_bytes,
            *(None if score is None else score.value for score in board.scores(line)),
        )
        for line in board.lines
    ]
    return head, rows


def layer_table(cell: Cell) -> Table:
    """Head and rows: the format, bits, output error and entropy of each decoder block."""
    head = (
        "block",
        "format",
        "paper bits",
        "stored bits",
        "output error",
        "entropy, bits",
        "events",
    )
    rows: list[tuple[Value, ...]] = [
        (
            number,
            block.kept,
            block.paper_bits,
            block.stored_bits,
            block.output_error,
            block.entropy,
            len(cell.events_of(number)),
        )
        for number, block in enumerate(cell.blocks)
    ]
    return head, rows


def measurement_table(measurement: Measurement) -> Table:
    """Head and rows: the entropy of each block under each seed; other measurements as text."""
    if isinstance(measurement, Entropy):
        seeds = (f"seed {seed}, bits" for seed in range(len(measurement.bits[0])))
        return ("block", *seeds), [
            (block, *values) for block, values in enumerate(measurement.bits)
        ]
    values = measurement.model_dump(mode="json")
    return ("quantity", "value"), [
        (name, value if isinstance(value, Value) else str(value)) for name, value in values.items()
    ]


def add_study(tracker: Tracker, study: Study) -> None:
    """Record the figure and the table of a study, where it has them."""
    if study.svg:
        tracker.figure(study.title, study.svg)
    if study.rows:
        head = [heading or "variant" for heading in study.head]
        tracker.table(f"{study.title} (table)", head, study.rows)
