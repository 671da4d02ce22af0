"""What a stage is given, and what it gives back."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.config.compose import compose, config_dir
from harness.config.schema import Config
from harness.errors import ExitCode
from reports.report.lines import CellResult, shown_score


@dataclass(frozen=True)
class Job:
    """One composed configuration.

    Attributes:
        config: What is to be done.
        overrides: What it was composed of.
        command: The command line that runs this job alone.
        sweep: The sweep that it is part of, or "".
    """

    config: Config
    overrides: tuple[str, ...]
    command: str
    sweep: str = ""


def read_job(overrides: Sequence[str]) -> Job:
    """The job of these overrides.

    Raises:
        ConfigError: For a configuration that cannot be.
    """
    config = compose(overrides)
    own = [one for one in overrides if not one.startswith("+sweep=")]
    if config.limit is not None and not any(one.startswith("limit=") for one in own):
        own.append(f"limit={config.limit}")
    sweep = next((one.split("=", 1)[1] for one in overrides if one.startswith("+sweep=")), "")
    options = ["--config-dir", config_dir()] if config_dir() else []
    command = shlex.join(["python", "-m", "harness", *options, *own])
    return Job(config, tuple(overrides), command, sweep)


def each_k(job: Job, blocks: int) -> list[Job]:
    """A job for every k that `half`, `quarters` or `all` stands for.

    Args:
        job: With any `method.k`.
        blocks: Decoder blocks of its model.
    """
    wanted = job.config.method.k
    if isinstance(wanted, int):
        return [job]
    counts: dict[str, list[float]] = {
        "half": [blocks / 2],
        "quarters": [blocks / 4, blocks / 2, 3 * blocks / 4],
        "all": [float(k) for k in range(blocks + 1)],
    }
    return [_with_k(job, k) for k in sorted({round(count) for count in counts[wanted]})]


def _with_k(job: Job, k: int) -> Job:
    config = replace(job.config, method=replace(job.config.method, k=k))
    words = [word for word in shlex.split(job.command) if not word.startswith("method.k=")]
    overrides = [one for one in job.overrides if not one.startswith("method.k=")]
    return Job(
        config,
        (*overrides, f"method.k={k}"),
        shlex.join([*words, f"method.k={k}"]),
        job.sweep,
    )


@dataclass(frozen=True)
class Outcome:
    """What running jobs came to.

    Attributes:
        failed: Cells, entries or backends that failed.
        undecided: Whether a gate could not decide.
        rows: The cells that were evaluated, now or before, with their results.
        reasons: Why cells failed.
    """

    failed: int = 0
    undecided: bool = False
    rows: tuple[CellResult, ...] = ()
    reasons: tuple[str, ...] = ()

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(
            self.failed + other.failed,
            self.undecided or other.undecided,
            self.rows + other.rows,
            self.reasons + other.reasons,
        )

    @property
    def exit_code(self) -> ExitCode:
        """A failure counts more than what could not be decided."""
        if self.failed:
            return ExitCode.FAILED
        return ExitCode.UNDECIDED if self.undecided else ExitCode.OK

    @property
    def score(self) -> float | None:
        """Mean over the cells of their first primary metric, as tables show it: for sweepers that
        optimize. None where no cell has one.
        """
        scores = [
            score.value
            for row in self.rows
            for metric in [one for one in row.result.metrics if one.primary][:1]
            if (score := shown_score(metric)) is not None
        ]
        return statistics.fmean(scores) if scores else None
