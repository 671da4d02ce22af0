"""launcher=joblib: the jobs of a sweep in processes of this machine, each on its own device."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Sequence

from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky.process_executor import TerminatedWorkerError

from harness.launchers.job import JobResult, OnResult, run_one

ATTEMPTS = 50  # pools of workers that may die, each followed by a new one, until jobs have failed


def run_parallel(
    jobs: Sequence[Sequence[str]], workers: int, gpus: int, on_result: OnResult
) -> list[JobResult]:
    """Run every job in worker processes.

    A worker that dies takes its pool with it; the jobs that have not ended go to a new pool, where
    they resume. What has not ended after ATTEMPTS pools has failed.

    Args:
        jobs: The overrides of each.
        workers: Processes at once.
        gpus: GPUs that they share; 0 for none.
        on_result: Called with the result of each job as it ends.

    Returns:
        A result for each job, in their order.
    """
    done: dict[int, JobResult] = {}
    for _ in range(ATTEMPTS):
        left = [number for number in range(len(jobs)) if number not in done]
        if not left:
            break
        try:
            # With one alone, joblib would work in this very process.
            processes = workers if workers == 1 else max(2, min(workers, len(left)))
            watched = {"initializer": _end_with, "initargs": (os.getpid(),)}
            with parallel_config(
                backend="loky", n_jobs=processes, inner_max_num_threads=_threads(workers), **watched
            ):
                running = Parallel(
                    return_as="generator_unordered", batch_size=1, pre_dispatch="n_jobs"
                )(delayed(_work)(number, list(jobs[number]), gpus) for number in left)
                for one in running:
                    done[one.number] = one
                    on_result(one)
        except TerminatedWorkerError:
            continue
    for number in (number for number in range(len(jobs)) if number not in done):
        done[number] = JobResult(
            number,
            1,
            f"workers died {ATTEMPTS} times before it was through: for want of memory? Try"
            " launcher.workers=1",
        )
        on_result(done[number])
    return [done[number] for number in range(len(jobs))]


def default_workers(gpus: int) -> int:
    """Processes at once where nothing is said: one for each GPU, or for every two cores."""
    return gpus or max(1, (os.cpu_count() or 1) // 2)


def count_gpus() -> int:
    """GPUs as nvidia-smi lists them: asking torch would take memory on each."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return len([device for device in visible.split(",") if device.strip() not in ("", "-1")])
    if shutil.which("nvidia-smi") is None:
        return 0
    listed = subprocess.run(
        ["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False
    ).stdout
    return sum(line.startswith("GPU ") for line in listed.splitlines())


def _threads(workers: int) -> int:
    return max(1, (os.cpu_count() or 1) // workers)


def _work(number: int, overrides: list[str], gpus: int) -> JobResult:
    """One job, in a worker, on the worker's device."""
    _choose_device(gpus)
    return run_one(number, overrides)


def _end_with(sweep: int) -> None:
    """End this worker when the process of the sweep ends, however it ends.

    Otherwise it might wait for ever for a lock of another worker that was killed.
    """

    def watch() -> None:
        while os.getppid() == sweep:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _choose_device(gpus: int) -> None:
    """By the number that loky gives a worker; set once, before torch looks."""
    if gpus and "LUQ_DEVICE_CHOSEN" not in os.environ:
        from multiprocessing import current_process

        number = re.search(r"(\d+)$", current_process().name)
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus)))).split(",")
        os.environ["CUDA_VISIBLE_DEVICES"] = visible[(int(number[1]) if number else 0) % gpus]
        os.environ["LUQ_DEVICE_CHOSEN"] = "1"
