"""Runs that are tracked by a tracker whose failures do not matter to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from loguru import logger

from harness import distributed
from harness.config.schema import Config
from harness.store import digest
from harness.trackers.base import NONE, Run, Tracker, Untracked, Value, find_tracker
from harness.trackers.values import add_study, leaderboard_table, mean_scalars
from reports.report.leaderboard import Leaderboard
from reports.report.studies.study import Study

SETTINGS = ("model", "method", "calibration", "entropy", "suite")  # what identifies a run


class Guarded:
    """A tracker whose first failure is its last: it is reported, and the run goes on untracked.

    Args:
        name: Of the tracker, for the report of its failure.
        make: Opens the tracker; may fail as well.
    """

    def __init__(self, name: str, make: Callable[[], Tracker]):
        self.name = name
        self.tracker: Tracker | None = None
        self._attempt(lambda: setattr(self, "tracker", make()))

    def scalars(self, values: Mapping[str, float]) -> None:
        """Record numbers by name."""
        self._pass(lambda tracker: tracker.scalars(values))

    def table(self, name: str, head: Sequence[str], rows: Sequence[Sequence[Value]]) -> None:
        """Record a table with one heading for each column."""
        self._pass(lambda tracker: tracker.table(name, head, rows))

    def figure(self, name: str, svg: str) -> None:
        """Record a figure, given as the text of an SVG file."""
        self._pass(lambda tracker: tracker.figure(name, svg))

    def finish(self) -> None:
        """End the run."""
        self._pass(lambda tracker: tracker.finish())

    def _pass(self, action: Callable[[Tracker], None]) -> None:
        tracker = self.tracker
        if tracker is not None:
            self._attempt(lambda: action(tracker))

    def _attempt(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001 (whatever a tracker raises must not fail a run)
            logger.warning(
                f"tracker {self.name} failed and is left out from here on: {type(error).__name__}:"
                f" {error}"
            )
            self.tracker = None


@contextmanager
def tracked(config: Config, stage: str, name: str, sweep: str) -> Iterator[Guarded]:
    """Track a run of this configuration for as long as the block lasts.

    Of several processes on one job only the first tracks it.

    Args:
        config: Names the tracker, the store and the project; its settings identify the run.
        stage: The stage that runs.
        name: Of the run, for people.
        sweep: The sweep that the run belongs to, or "".

    Raises:
        ConfigError: There is no tracker of that name.
    """
    kind = config.tracker.name
    if kind == NONE or distributed.rank() > 0:
        yield Guarded(NONE, Untracked)
        return
    settings = flat({key: value for key, value in asdict(config).items() if key in SETTINGS})
    identity = digest.of_value([stage, settings, config.limit])
    run = Run(identity, name, sweep or name, stage, settings)
    folder = Path(config.store) / "tracking" / kind
    opener = find_tracker(kind)
    tracker = Guarded(kind, lambda: opener(run, folder, config.tracker.project))
    try:
        yield tracker
    finally:
        tracker.finish()


def track_report(config: Config, sweep: str, board: Leaderboard, studies: Sequence[Study]) -> None:
    """Track the leaderboard, figures and tables of a report, as a run of their own.

    The leaderboard has all variants of the store, also those that were evaluated untracked.
    """
    with tracked(config, "report", f"report {sweep}".strip(), sweep) as tracker:
        tracker.scalars(mean_scalars(board))
        tracker.table("leaderboard", *leaderboard_table(board))
        for study in studies:
            add_study(tracker, study)


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Value]:
    """Nested settings as one level: `method.low.bits`."""
    settings: dict[str, Value] = {}
    for key, value in values.items():
        value = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
        if isinstance(value, Mapping):
            settings |= flat(value, f"{prefix}{key}.")
        else:
            settings[f"{prefix}{key}"] = value if isinstance(value, Value) else str(value)
    return settings
