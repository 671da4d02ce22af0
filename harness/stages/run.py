"""Running one job, in whichever process it is given to."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from loguru import logger

from harness.config.schema import Config
from harness.errors import ConfigError, ExitCode, StoreError
from harness.failures import cause, require_of_a_cell
from harness.progress import SILENT, Progress
from harness.stages.base import Job, Outcome, read_job
from harness.stages.evaluate import fail_unopened
from harness.stages.registry import find_stage
from harness.trackers.base import find_tracker
from harness.variants.quantizers import quantizers_of


def check_installed(config: Config) -> None:
    """Refuse a stage, a tracker or a quantizer that cannot be, before any work begins.

    Raises:
        ConfigError: Lists those that there are, or names a quantizer's option and what is allowed.
    """
    find_stage(config.stage)
    find_tracker(config.tracker.name)
    quantizers_of(config.method)


def run_job(job: Job, progress: Progress) -> Outcome:
    """Run the stage of one job.

    Whatever else it raises is the job's failure, and the next one runs.

    Raises:
        ConfigError: For a request that cannot be carried out as written.
        StoreError: Where the store cannot be read or written.
    """
    log_to(Path(job.config.store))
    stage = find_stage(job.config.stage)
    try:
        outcome: Outcome = stage.run([job], progress)
    except (Exception, SystemExit) as error:  # noqa: BLE001 (of a model's files, say)
        require_of_a_cell(error)
        if stage.cells:
            return fail_unopened(job, error, progress)
        reason = f"{stage.name} with {job.config.method.name}: {cause(error)}"
        progress.message(f"FAILED {reason}")
        return Outcome(failed=1, reasons=(reason,))
    return outcome


def run_alone(overrides: Sequence[str]) -> tuple[int, str]:
    """(exit code, reason) of one job in a process that a launcher started; prints nothing."""
    try:
        job = read_job(overrides)
        check_installed(job.config)
        outcome = run_job(job, SILENT)
    except ConfigError as error:
        return int(ExitCode.BAD_CONFIG), str(error)
    except StoreError as error:
        return int(ExitCode.FAILED), str(error)
    return int(outcome.exit_code), "; ".join(outcome.reasons)


def log_to(root: Path) -> None:
    """Log everything to a file of the store, and the harness's own warnings to the terminal too."""
    logger.remove()
    log = str(root / "logs" / "harness.log").replace("{", "{{").replace("}", "}}")
    logger.add(log, level="INFO", enqueue=False)  # which fills in the time for {time}
    logger.add(sys.stderr, level="WARNING", filter="harness", format="{level}: {message}")
