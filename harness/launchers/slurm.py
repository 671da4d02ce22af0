"""launcher=slurm: the jobs of a sweep as an array job of a SLURM cluster, through submitit.

All nodes share the store.
"""

from __future__ import annotations

import re
import secrets
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import submitit

from harness.config.schema import LauncherConfig
from harness.errors import ConfigError
from harness.launchers.job import JobResult, OnResult, run_one

LOOK = 2.0  # seconds between two looks at the queue
REQUEUES = 3  # times that a task which died is queued again
TIME_LIMITS = 20  # times that a task may run into its time limit; it resumes where it was
DIED = ("FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT", "BOOT_FAIL")
GONE = ("COMPLETED", "CANCELLED", "DEADLINE", "")  # and what SLURM no longer knows
# Looks at a task that is gone until it is given up: its result may show late, or somebody may queue
# it again.
SILENCE = 30


class TaskJobs:
    """Jobs that one task of the array runs, one after the other.

    A task that is preempted or requeued begins them again: what is complete in the store is found
    there.
    """

    def __call__(self, jobs: list[tuple[int, list[str]]]) -> list[JobResult]:
        """Run them; jobs: (number, overrides) each."""
        return [run_one(number, overrides) for number, overrides in jobs]

    def checkpoint(self, jobs: list[tuple[int, list[str]]]) -> submitit.helpers.DelayedSubmission:
        """What submitit calls before a task is taken away."""
        return submitit.helpers.DelayedSubmission(self, jobs)


def submit(
    jobs: Sequence[Sequence[str]], folder: Path, options: LauncherConfig
) -> list[submitit.Job[list[JobResult]]]:
    """Submit an array job with a task for every `options.block` jobs.

    Args:
        jobs: The overrides of each.
        folder: Shared by all nodes. Scripts, logs and what the tasks return go into a new folder in
            it that only this user can write to: what they return is unpickled.
        options: Of the tasks.

    Raises:
        ConfigError: SLURM is not there.
    """
    own = folder / f"{time.strftime('%Y-%m-%d_%H-%M-%S')}-{secrets.token_hex(4)}"
    try:
        executor = submitit.SlurmExecutor(folder=own, max_num_timeout=TIME_LIMITS)
    except RuntimeError as error:
        raise ConfigError(
            f"launcher=slurm: {error}; run it where sbatch is found, or choose launcher=joblib"
        ) from error
    parameters: dict[str, Any] = {
        "job_name": "luq",
        "time": options.minutes,
        "partition": options.partition,
        "cpus_per_task": options.cpus,
        "mem": f"{options.memory_gib}G" if options.memory_gib else None,
        "gpus_per_node": options.gpus or None,
        "array_parallelism": options.workers or 256,
        "additional_parameters": {"requeue": True, **options.sbatch},
    }
    own.mkdir(parents=True)
    own.chmod(0o700)
    executor.update_parameters(
        **{name: value for name, value in parameters.items() if value is not None}
    )
    numbered = [(number, list(overrides)) for number, overrides in enumerate(jobs)]
    parts = [
        numbered[start : start + options.block] for start in range(0, len(numbered), options.block)
    ]
    tasks: list[submitit.Job[list[JobResult]]] = executor.map_array(TaskJobs(), parts)
    return tasks


def wait(
    tasks: Sequence[submitit.Job[list[JobResult]]], jobs: int, on_result: OnResult
) -> list[JobResult]:
    """Wait until every task has ended.

    A task that dies without a result is queued again, up to REQUEUES times, and resumes where it
    was; one that somebody cancelled is left to them.

    Args:
        tasks: What `submit` returned.
        jobs: How many jobs they have in all.
        on_result: Called with the result of each job as its task ends.

    Returns:
        A result for each job, in their order.
    """
    done: dict[int, JobResult] = {}
    left, silent = dict.fromkeys(tasks, REQUEUES), dict.fromkeys(tasks, 0)
    while left:
        for task in list(left):
            if task.paths.result_pickle.exists():
                del left[task]
                for one in _results(task):
                    done[one.number] = one
                    on_result(one)
            elif (state := _state(task.job_id)) in DIED:
                left[task] -= 1
                if left[task] < 0 or not _requeued(task.job_id):
                    del left[task]
            elif state in GONE:
                silent[task] += 1
                if silent[task] > SILENCE:
                    del left[task]
            else:
                silent[task] = 0
        time.sleep(LOOK)
    why = (
        "its task of SLURM ended without a result; see the logs in the folder slurm of the store,"
        " and run the command again"
    )
    lost = [JobResult(number, 1, why) for number in range(jobs) if number not in done]
    for one in lost:
        on_result(one)
    return sorted([*done.values(), *lost], key=lambda one: one.number)


def _state(job: str) -> str:
    """State of a job as scontrol has it, which needs no accounting; "" for one it does not know."""
    output = subprocess.run(
        ["scontrol", "--oneliner", "show", "job", job], capture_output=True, text=True, check=False
    ).stdout
    state = re.search(r"JobState=(\w+)", output)
    return state[1] if state else ""


def _requeued(job: str) -> bool:
    return (
        subprocess.run(["scontrol", "requeue", job], capture_output=True, check=False).returncode
        == 0
    )


def _results(task: submitit.Job[list[JobResult]]) -> list[JobResult]:
    try:
        results: list[JobResult] = task.result()
    except (submitit.core.utils.UncompletedJobError, submitit.core.utils.FailedJobError):
        return []
    return results
