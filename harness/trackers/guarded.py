"""What is told to a tracker, and that nothing which goes wrong there matters here."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from loguru import logger

from harness import distributed
from harness.config.schema import Config
from harness.store import digest
from harness.trackers.base import NONE, OpenTracker, Run, Tracker, Value
from reports.records.measurements import Entropy, Measurement
from reports.records.results import Cell, SuiteResult
from reports.report.studies import Study


class Guarded:
    """A tracker whose first failure is its last: it is told, and the run goes on untracked."""

    def __init__(self, name: str, make: Callable[[], Tracker]):
        self.name, self.tracker = name, None
        self.tracker = self._tried(make)

    def scalars(self, values: Mapping[str, float]) -> None:
        self._tell(lambda tracker: tracker.scalars(values))

    def table(self, name: str, head: Sequence[str], rows: Sequence[Sequence[Value]]) -> None:
        self._tell(lambda tracker: tracker.table(name, head, rows))

    def figure(self, name: str, svg: str) -> None:
        self._tell(lambda tracker: tracker.figure(name, svg))

    def finish(self) -> None:
        self._tell(lambda tracker: tracker.finish())

    def _tell(self, what: Callable[[Tracker], None]) -> None:
        tracker: Any = self.tracker
        if tracker is not None:
            self._tried(lambda: what(tracker))

    def _tried(self, what: Callable[[], Any]) -> Any:
        try:
            return what()
        except Exception as error:  # noqa: BLE001 (whatever a tracker raises must not fail a run)
            logger.warning(
                f"tracker {self.name} failed and is left out from here on: {type(error).__name__}:"
                f" {error}"
            )
            self.tracker = None
            return None


@contextmanager
def tracked(config: Config, stage: str, name: str, sweep: str) -> Iterator[Guarded]:
    """A run of this configuration with its tracker, which ends with the block."""
    kind = config.tracker.name
    if kind == NONE or distributed.rank() > 0:
        yield Guarded(NONE, _Nothing)
        return
    settings = flat(
        {
            key: value
            for key, value in asdict(config).items()
            if key in ("model", "method", "calibration", "entropy", "suite")
        }
    )
    run = Run(
        digest.of_value([stage, settings, config.limit]), name, sweep or name, stage, settings
    )

    def make() -> Tracker:
        opener: OpenTracker = importlib.import_module(f"harness.trackers.{kind}").open_tracker
        return opener(run, Path(config.store) / "tracking" / kind, config.tracker.project)

    tracker = Guarded(kind, make)
    try:
        yield tracker
    finally:
        tracker.finish()


def track_report(config: Config, sweep: str, found: Sequence[Study]) -> None:
    """The figures and tables of a report, as a run of their own."""
    with tracked(config, "report", f"report {sweep}".strip(), sweep) as tracker:
        for study in found:
            if study.svg:
                tracker.figure(study.title, study.svg)
            if study.rows:
                tracker.table(
                    f"{study.title} (table)",
                    [heading or "variant" for heading in study.head],
                    study.rows,
                )


class _Nothing:
    """No tracker."""

    def scalars(self, values: Mapping[str, float]) -> None: ...
    def table(self, name: str, head: Sequence[str], rows: Sequence[Sequence[Value]]) -> None: ...
    def figure(self, name: str, svg: str) -> None: ...
    def finish(self) -> None: ...


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Value]:
    """Nested settings as one level: method.low.bits."""
    found: dict[str, Value] = {}
    for key, value in values.items():
        value = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value if isinstance(value, Value) else str(value)
    return found


def cell_scalars(cell: Cell, result: SuiteResult) -> dict[str, float]:
    """Every metric with its interval, the counts of what went wrong, and what the variant stores."""
    values: dict[str, float] = {
        "paper_bits": cell.paper_bits,
        "stored_bits": cell.stored_bits,
        "stored_bytes": cell.stored_bytes,
        f"{cell.suite}/seconds": cell.seconds,
    }
    for count in ("n", "errors", "empty", "unparseable", "data_errors"):
        values[f"{cell.suite}/{count}"] = getattr(result, count)
    for metric in result.metrics:
        for part, value in (("", metric.score), ("_low", metric.ci_low), ("_high", metric.ci_high)):
            if value is not None:
                values[f"{cell.suite}/{metric.metric}{part}"] = value
    return values


def measurement_table(found: Measurement) -> tuple[tuple[str, ...], list[tuple[Value, ...]]]:
    """(head, rows): the entropy of each block under each seed; of other measurements, what they
    found in words.
    """
    if isinstance(found, Entropy):
        seeds = tuple(f"seed {seed}, bits" for seed in range(len(found.bits[0])))
        return ("block", *seeds), [(block, *values) for block, values in enumerate(found.bits)]
    values = found.model_dump(mode="json")
    return ("what", "value"), [
        (name, value if isinstance(value, Value) else str(value)) for name, value in values.items()
    ]


def layer_table(cell: Cell) -> tuple[tuple[str, ...], list[tuple[Value, ...]]]:
    """(head, rows): how each decoder block is kept."""
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
    return (
        "block",
        "kept as",
        "paper bits",
        "stored bits",
        "output error",
        "entropy, bits",
        "events",
    ), rows
