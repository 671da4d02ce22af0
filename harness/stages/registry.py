"""What stages there are. Imports nothing heavy: the help lists them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from harness.errors import ConfigError


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
        leaderboard: Whether the terminal shows the leaderboard behind it.
    """

    name: str
    summary: str
    module: str
    once: Literal["job", "command"] = "job"
    cells: bool = False
    report: bool = False
    leaderboard: bool = False

    @property
    def run(self) -> Callable[..., Any]:
        """The function that does it: (jobs, progress) -> Outcome."""
        function: Callable[..., Any] = import_module(f"harness.stages.{self.module}").run
        return function


STAGES = {
    stage.name: stage
    for stage in (
        Stage(
            "evaluate",
            "quantize variants, evaluate them on suites, report",
            "evaluate",
            cells=True,
            report=True,
            leaderboard=True,
        ),
        Stage("entropy", "entropy of every block's activations", "measure", report=True),
        Stage(
            "stability",
            "stability of the blocks' ranking over K of K-means",
            "measure",
            report=True,
        ),
        Stage("orders", "scores of the blocks against measured damage", "measure", report=True),
        Stage("search", "the k of a score threshold or a byte budget", "search.stage", report=True),
        Stage("export", "write one variant as a model folder", "export", report=True),
        Stage("gate", "may a backend be shipped? pass, fail or undecided", "gate.stage"),
        Stage(
            "plan",
            "what a command would store, need and cost; reads no weights",
            "plan.stage",
            once="command",
        ),
        Stage(
            "status",
            "which cells of a command are done, running, failed, missing or outdated",
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
            leaderboard=True,
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
