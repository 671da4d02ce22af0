"""stage=status: the state of every cell; and how much work a command has before it starts."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ConfigError, StoreError
from harness.evaluation.registry import open_suites
from harness.failures import cause, require_of_a_cell
from harness.progress import Progress, duration
from harness.stages.base import Job, Outcome, each_k
from harness.stages.cells import STATES, cell_key, cell_label, cell_state, variant_name
from harness.stages.evaluate import look_at_model, on_task
from harness.stages.registry import STAGES
from harness.store.store import Store
from reports.records.entries import CELL_FILE
from reports.records.sealed_json import strict_json


@dataclass(frozen=True)
class Workload:
    """What a command has to do.

    Attributes:
        cells: Of all jobs; a measurement counts as one.
        done: Cells that the store has.
        questions: In the other cells, at most: variants that turn out to be equal are evaluated
            once.
        seconds: For these, by what such questions took before; None where there is no before.
    """

    cells: int
    done: int
    questions: int
    seconds: float | None

    def __str__(self) -> str:
        left = self.cells - self.done
        cells = f"{self.cells} cell{'' if self.cells == 1 else 's'}"
        if not left:
            return f"{cells}, all already done"
        if not self.questions:
            return f"{cells}, {self.done} already done"
        time = (
            "time unknown, nothing was evaluated in this store before"
            if self.seconds is None
            else f"about {duration(self.seconds)}"
        )
        return (
            f"{cells}, {self.done} already done, {left} left with at most {self.questions:,}"
            f" questions ({time}, and quantization)"
        )


def workload(jobs: Sequence[Job]) -> Workload:
    """Look at every cell of every job.

    Jobs that cannot be opened are left out here; they report themselves when they run.
    """
    cells = done = 0
    left: dict[str, int] = {}
    speeds: dict[str, float] = {}
    for job in jobs:
        if not STAGES[job.config.stage].cells:
            cells += 1
            continue
        store = Store(Path(job.config.store))
        try:
            loaded = look_at_model(job.config)
            suites = open_suites(job.config, loaded, store)
        except ConfigError:
            continue
        except Exception as error:  # noqa: BLE001 (of a model's files, say)
            require_of_a_cell(error)
            continue
        speeds = speeds or _seconds_per_question(store.root)
        for one in each_k(job, len(loaded.blocks)):
            for name, suite in suites.items():
                cells += 1
                key = cell_key(one.config, loaded, suite)
                if cell_state(store, key, one.config) == "done":
                    done += 1
                else:
                    left[name] = left.get(name, 0) + suite.whole_groups(one.config.limit)
    usual = statistics.fmean(speeds.values()) if speeds else 0.0
    seconds = (
        sum(count * speeds.get(name, usual) for name, count in left.items()) if speeds else None
    )
    return Workload(cells, done, sum(left.values()), seconds)


def run(jobs: Sequence[Job], progress: Progress) -> Outcome:
    """Print the state of every cell of these jobs, and how many are in each.

    Raises:
        ConfigError: None of them can be opened, the first for a reason of the request.
    """
    cells, problems = states(jobs)
    if len(problems) == len(cells) and isinstance(problems[0], ConfigError):
        raise problems[0]
    progress.table(("cell", "state"), cells, wrap=True)
    counts = Counter(state for _, state in cells)
    listed = [*STATES, UNOPENED] if problems else STATES
    progress.message(", ".join(f"{counts[state]} {state}" for state in listed))
    reasons = tuple(dict.fromkeys(map(cause, problems)))
    for reason in reasons:
        progress.message(f"{UNOPENED}: {reason}")
    return Outcome(failed=len(problems), reasons=reasons)


UNOPENED = "unopened"  # state of cells whose model or suite is not there


def states(jobs: Sequence[Job]) -> tuple[list[tuple[str, str]], list[BaseException]]:
    """(cell, state) of every cell of every job, and why suites or models could not be opened.

    state: one of `STATES`, or `UNOPENED`. A cell is running while a live process quantizes or
    evaluates it, or will after the suites before it.
    """
    cells: list[tuple[str, str]] = []
    problems: list[BaseException] = []
    for job in jobs:
        store, tasks = Store(Path(job.config.store)), job.config.suite.tasks
        try:
            loaded = look_at_model(job.config)
            suites = open_suites(job.config, loaded, store)
        except (Exception, SystemExit) as error:
            if isinstance(error, StoreError):
                raise
            if len(tasks) > 1:  # others can be opened
                alone = states([on_task(job, task) for task in tasks])
                cells += alone[0]
                problems += alone[1]
                continue
            if not isinstance(error, ConfigError):
                require_of_a_cell(error)
            cells.append((f"{variant_name(job.config)} on {', '.join(tasks)}", UNOPENED))
            problems.append(error)
            continue
        for one in each_k(job, len(loaded.blocks)):
            for suite in suites.values():
                state = cell_state(store, cell_key(one.config, loaded, suite), one.config)
                cells.append((cell_label(one.config, suite), state))
    return cells, problems


def _seconds_per_question(root: Path) -> dict[str, float]:
    """Median by suite over the results of a store.

    A result that several cells share was made for the one that took longest.
    """
    longest: dict[tuple[str, str], tuple[float, int]] = {}
    for path in (root / "cells").glob(f"*/{CELL_FILE}"):
        try:
            cell = strict_json(path.read_text(encoding="utf-8"))
            result = (cell["suite"], cell["result"])
            time = (float(cell["seconds"]), int(cell["questions"]))
            longest[result] = max(longest.get(result, (0.0, 1)), time)
        except (OSError, ValueError, KeyError, TypeError):
            continue  # whoever needs this cell sets it aside and says so
    by_suite: dict[str, list[float]] = {}
    for (suite, _), (seconds, questions) in longest.items():
        by_suite.setdefault(suite, []).append(seconds / max(questions, 1))
    return {suite: statistics.median(values) for suite, values in by_suite.items()}
