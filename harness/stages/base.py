"""What a stage is, and what stages there are."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Literal

from harness.config.compose import compose
from harness.config.schema import Config
from harness.errors import ConfigError, ExitCode
from harness.progress import Progress


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
    return Job(config, tuple(overrides), shlex.join(["python", "-m", "harness", *own]), sweep)


def each_k(job: Job, blocks: int) -> list[Job]:
    """A job for every k that `half`, `quarters` or `all` stands for.

    Args:
        job: With any `method.k`.
        blocks: Decoder blocks of its model.
    """
    wanted = job.config.method.k
    if isinstance(wanted, int):
        return [job]
    counts = {
        "half": [blocks / 2],
        "quarters": [blocks / 4, blocks / 2, 3 * blocks / 4],
        "all": list(range(blocks + 1)),
    }[wanted]
    return [_with_k(job, k) for k in sorted({round(count) for count in counts})]


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
        score: Mean over the suites that were evaluated, in per cent, for sweepers that optimize;
            None where there is none.
    """

    failed: int = 0
    undecided: bool = False
    score: float | None = None

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(
            self.failed + other.failed,
            self.undecided or other.undecided,
            self.score if other.score is None else other.score,
        )

    @property
    def exit_code(self) -> ExitCode:
        """A failure counts more than what could not be decided."""
        if self.failed:
            return ExitCode.FAILED
        return ExitCode.UNDECIDED if self.undecided else ExitCode.OK


Run = Callable[[Sequence[Job], Progress], Outcome]


@dataclass(frozen=True)
class Stage:
    """Something that `stage=NAME` does.

    Attributes:
        name: As it is called on the command line.
        summary: What it does, in a line.
        module: Of `harness.stages`, with a function `run(jobs, progress) -> Outcome`; imported only
            when the stage runs.
        once: `job`: runs for each job, which other processes may do; `command`: runs once for all
            jobs of a command, in its own process.
        cells: Whether a job fills cells, which are counted before it starts and shared out to
            processes.
        report: Whether a report follows.
    """

    name: str
    summary: str
    module: str
    once: Literal["job", "command"] = "job"
    cells: bool = False
    report: bool = False

    @property
    def run(self) -> Run:
        """The function that does it."""
        found: Run = import_module(f"harness.stages.{self.module}").run
        return found


STAGES = {
    stage.name: stage
    for stage in (
        Stage(
            "evaluate",
            "quantize variants, evaluate them on suites, report",
            "evaluate",
            cells=True,
            report=True,
        ),
        Stage("entropy", "entropy of every block's activations", "measure", report=True),
        Stage(
            "stability",
            "stability of the blocks' ranking over K of K-means",
            "measure",
            report=True,
        ),
        Stage("orders", "scores of the blocks against measured damage", "measure", report=True),
        Stage("search", "the k of a score threshold or a byte budget", "search", report=True),
        Stage("export", "write one variant as a model folder", "export", report=True),
        Stage("gate", "may a backend be shipped? pass, fail or undecided", "gate"),
        Stage(
            "plan",
            "what a command would store, need and cost; reads no weights",
            "plan",
            once="command",
        ),
        Stage(
            "status",
            "which cells of a command are done, running, failed or missing",
            "status",
            once="command",
        ),
        Stage("verify", "check every entry of the store", "verify"),
        Stage("gc", "free what no result needs", "gc"),
        Stage(
            "report",
            "page, tables and figures of what is in the store",
            "report",
            once="command",
            report=True,
        ),
        Stage(
            "list",
            "stages, sweeps, models, methods, suites, each with a line",
            "listing",
            once="command",
        ),
    )
}


def find_stage(name: str) -> Stage:
    """The stage of that name.

    Raises:
        ConfigError: Lists the stages that there are.
    """
    if name not in STAGES:
        raise ConfigError(f"stage is {name!r}; choose one of {', '.join(STAGES)}")
    return STAGES[name]
