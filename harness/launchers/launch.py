"""Sharing out the jobs of a sweep to other processes: those of this machine, or of a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.errors import ConfigError, ExitCode
from harness.launchers.job import JobResult, OnResult
from harness.launchers.joblib import count_gpus, default_workers, run_parallel
from harness.progress import Progress
from harness.stages.base import Job, each_k
from harness.stages.evaluate import look_at_model
from harness.stages.registry import find_stage

_OUTCOMES = {ExitCode.OK: "done", ExitCode.FAILED: "FAILED, see the report"}


def launch(jobs: Sequence[Job], progress: Progress) -> list[JobResult]:
    """Run all jobs with the launcher that the first of them names; each is reported as it ends.

    Raises:
        ConfigError: For a launcher that cannot be used here.
    """
    config = jobs[0].config
    if config.launcher.each == "cell":
        jobs = [cell for job in jobs for cell in _cells(job)]
    shared = [list(job.overrides) for job in jobs]

    def report(result: JobResult) -> None:
        outcome = f"FAILED: {result.reason}" if result.reason else _OUTCOMES[ExitCode(result.code)]
        progress.finish_cell(_label(jobs[result.number]), outcome)

    if config.launcher.name == "slurm":
        return _on_slurm(shared, jobs[0], progress, report)
    gpus = count_gpus() if config.model.device != "cpu" else 0
    workers = config.launcher.workers or default_workers(gpus)
    on_gpus = f" on {gpus} GPUs" if gpus else ""
    progress.announce(len(jobs), 0, f"{len(jobs)} jobs, {workers} at once{on_gpus}")
    return run_parallel(shared, workers, gpus, report)


def _label(job: Job) -> str:
    return " ".join(one for one in job.overrides if one.startswith(("method", "suite.tasks=")))


def _cells(job: Job) -> list[Job]:
    """A job's cells as jobs of their own."""
    config = job.config
    if not find_stage(config.stage).cells:
        return [job]
    blocks = 0 if isinstance(config.method.k, int) else len(look_at_model(config).blocks)
    return [
        Job(
            one.config,
            (*_without_k(one), f"method.k={one.config.method.k}", f"suite.tasks=[{task}]"),
            one.command,
            one.sweep,
        )
        for one in each_k(job, blocks)
        for task in config.suite.tasks
    ]


def _without_k(job: Job) -> list[str]:
    return [one for one in job.overrides if not one.startswith("method.k=")]


def _on_slurm(
    shared: list[list[str]], first: Job, progress: Progress, report: OnResult
) -> list[JobResult]:
    try:
        from harness.launchers import slurm
    except ImportError as error:
        raise ConfigError(
            "launcher=slurm needs the package submitit: pip install 'luq-harness[slurm]'"
        ) from error
    config = first.config
    tasks = slurm.submit(shared, Path(config.store).resolve() / "slurm", config.launcher)
    ids = f"{tasks[0].job_id} to {tasks[-1].job_id}"
    progress.announce(len(shared), 0, f"{len(shared)} jobs in {len(tasks)} tasks of SLURM, {ids}")
    if config.launcher.wait:
        return slurm.wait(tasks, len(shared), report)
    progress.message(
        "The same command with stage=status shows how far they are, with stage=report it makes the "
        "report."
    )
    return []
