"""stage=report: page, tables and figures of what is in a store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.config.schema import Config
from harness.errors import StoreError
from harness.progress import Progress
from harness.stages.base import Job, Outcome
from harness.trackers.guarded import track_report
from reports.report.leaderboard import Leaderboard
from reports.report.write import write_report


def run(jobs: Sequence[Job], progress: Progress) -> Outcome:
    """Nothing but the report, which follows as it does behind other stages."""
    return Outcome()


def make_report(config: Config, sweep: str) -> Leaderboard:
    """Write the report of a store and hand it to the tracker.

    Args:
        config: Names the store and the tracker.
        sweep: The tracker's group, or "".

    Raises:
        StoreError: Where it cannot be written.
    """
    root = Path(config.store)
    try:
        board, studies = write_report(root)
    except OSError as error:
        raise StoreError(
            f"cannot write the report into {root}: {error}; free space and run stage=report"
        ) from error
    if config.tracker.name != "none":
        track_report(config, sweep, board, studies)
    return board
