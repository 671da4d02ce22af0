"""`launcher=slurm`: the jobs of a sweep as an array job of a SLURM cluster, through submitit.

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


class Block:
    """Jobs that one task of the array runs, one after the other.

    A task that is preempted or requeued begins them again: what is complete in the store is found
    there.
    """

    def __call__(self, jobs: list[tuple[int, list[str]]]) -> list[JobResult]:
        """Run them; jobs: (number, overrides) each."""
        return [run_one(number, overrides) for number, overrides in jobs]

    def checkpoint(self, jobs: list[tuple[int, list[str]]]) -> submitit.helpers.DelayedSubmission:
        """What submitit asks for before a task is taken away."""
        return submitit.helpers.DelayedSubmission(self, jobs)


def submit(
    jobs: Sequence[Sequence[str]], folder: Path, options: LauncherConfig
) -> list[submitit.Job[list[JobResult]]]:
    """One task for every `options.block` jobs. folder: shared by all nodes; scripts, logs and what
    the tasks return go into a new folder in it that only this user can write to: what they return
    is unpickled. Raises ConfigError where SLURM is not there.
    """
    own = folder / f"{time.strftime('%Y-%m-%d_%H-%M-%S')}-{secrets.token_hex(4)}"
    try:
        executor = submitit.SlurmExecutor(folder=own, max_num_timeout=TIME_LIMITS)
    except RuntimeError as error:
        raise ConfigError(
            f"launcher=slurm: {error}; run it where sbatch is found, or choose launcher=joblib"
        ) from error
    wanted: dict[str, Any] = {
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
        **{name: value for name, value in wanted.items() if value is not None}
    )
    numbered = [(number, list(overrides)) for number, overrides in enumerate(jobs)]
    blocks = [
        numbered[start : start + options.block] for start in range(0, len(numbered), options.block)
    ]
    found: list[submitit.Job[list[JobResult]]] = executor.map_array(Block(), blocks)
    return found


def wait(
    tasks: Sequence[submitit.Job[list[JobResult]]], jobs: int, on_result: OnResult
) -> list[JobResult]:
    """`on_result` of every job as its task ends.

    A task that dies without a result is queued again, up to REQUEUES times, and goes on where it
    was; one that somebody cancelled is left to them.
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


REQUEUES = 3
TIME_LIMITS = 20  # times that a task may run into its time limit; it goes on where it was
DIED = ("FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT", "BOOT_FAIL")
GONE = ("COMPLETED", "CANCELLED", "DEADLINE", "")  # and what SLURM no longer knows
# looks at a task that is gone until it is given up: its result may show late, or somebody queue it
# again
SILENCE = 30


def _state(job: str) -> str:
    """As scontrol says it, which needs no accounting; "" for a job that it does not know."""
    said = subprocess.run(
        ["scontrol", "--oneliner", "show", "job", job], capture_output=True, text=True, check=False
    ).stdout
    found = re.search(r"JobState=(\w+)", said)
    return found[1] if found else ""


def _requeued(job: str) -> bool:
    return (
        subprocess.run(["scontrol", "requeue", job], capture_output=True, check=False).returncode
        == 0
    )


def _results(task: submitit.Job[list[JobResult]]) -> list[JobResult]:
    try:
        found: list[JobResult] = task.result()
    except (submitit.core.utils.UncompletedJobError, submitit.core.utils.FailedJobError):
        return []
    return found
