"""One command: its jobs, as Hydra composes them, run and counted."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from harness.errors import ConfigError, ExitCode
from harness.launchers.launch import launch
from harness.progress import Progress
from harness.stages.base import Job, Outcome, read_job
from harness.stages.registry import find_stage
from harness.stages.run import check_installed, run_job
from harness.stages.status import workload


class Command:
    """What Hydra calls: once with a single job, or with all jobs of a sweep.

    Attributes:
        outcome: What its jobs came to.
        bad_configs: Why some of them cannot be.
        begun: Whether Hydra has composed a job.
        reported: The last job that a report follows on, or None.
    """

    def __init__(self, progress: Progress):
        self.progress = progress
        self.outcome = Outcome()
        self.bad_configs: list[str] = []
        self.begun = False
        self.reported: Job | None = None

    def __call__(self, raw: DictConfig) -> float | None:
        """A single job: Hydra's task function. raw: composed, and composed anew here."""
        own = HydraConfig.get()
        overrides = list(own.overrides.task)
        files = [one for one in overrides if one.startswith("+sweep=")]
        # A file without a list, that of a stage for one model say, is one job and rightly so.
        if files and (own.sweeper.get("variants") or own.sweeper.get("params")):
            self.bad_configs.append(
                f"{files[0]}: its list would not be run: write `mode: MULTIRUN` under `hydra:` in"
                " its file, or --multirun in the command (docs/guides/sweeps.md)"
            )
            return None
        return self.run_jobs([overrides])[0]

    def run_jobs(self, overrides: Sequence[Sequence[str]]) -> list[float | None]:
        """Run jobs, each given as its overrides, and return their scores.

        A configuration that cannot be is recorded, and the other jobs run.
        """
        self.begun = True
        jobs = [self._read(one) for one in overrides]
        scores: list[float | None] = [None] * len(jobs)
        self._run_once([job for job in jobs if job is not None])
        todo = [
            (number, job)
            for number, job in enumerate(jobs)
            if job is not None and find_stage(job.config.stage).once == "job"
        ]
        self._announce([job for _, job in todo])
        if todo and todo[0][1].config.launcher.name != "local":
            self._launch([job for _, job in todo])
            return scores
        for number, job in todo:
            scores[number] = self._run(job)
        return scores

    def _read(self, overrides: Sequence[str]) -> Job | None:
        try:
            job = read_job(overrides)
            check_installed(job.config)
        except ConfigError as error:
            self.bad_configs.append(str(error))
            return None
        if find_stage(job.config.stage).report:
            self.reported = job
        return job

    def _run_once(self, jobs: Sequence[Job]) -> None:
        """The stages that run once for all their jobs."""
        by_stage: dict[str, list[Job]] = {}
        for job in jobs:
            if find_stage(job.config.stage).once == "command":
                by_stage.setdefault(job.config.stage, []).append(job)
        for name, mine in by_stage.items():
            try:
                self.outcome += find_stage(name).run(mine, self.progress)
            except ConfigError as error:
                self.bad_configs.append(str(error))

    def _announce(self, jobs: Sequence[Job]) -> None:
        counted = [job for job in jobs if find_stage(job.config.stage).report]
        if counted:
            total = workload(counted)
            self.progress.announce(total.cells, total.done, str(total))

    def _run(self, job: Job) -> float | None:
        try:
            outcome = run_job(job, self.progress)
        except ConfigError as error:
            self.bad_configs.append(str(error))
            return None
        self.outcome += outcome
        return outcome.score

    def _launch(self, jobs: Sequence[Job]) -> None:
        try:
            results = launch(jobs, self.progress)
        except ConfigError as error:
            self.bad_configs.append(str(error))
            return
        self.outcome += Outcome(failed=sum(one.code == ExitCode.FAILED for one in results))
        self.bad_configs += [one.reason for one in results if one.code == ExitCode.BAD_CONFIG]

    @property
    def exit_code(self) -> ExitCode:
        """What the command ends with."""
        return ExitCode.BAD_CONFIG if self.bad_configs else self.outcome.exit_code
