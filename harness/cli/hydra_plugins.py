"""What the harness adds to Hydra: a sweeper that takes a list of variants, and a launcher.

Any other sweeper (`hydra/sweeper=optuna`) works with the launcher too: it gets back the mean score
of each job.
"""

from __future__ import annotations

import importlib.util
import itertools
import sys
import types
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, ListConfig

from harness.config.compose import PLUGINS

# Hydra loads its own plugins anew when it first looks for plugins: what is derived from them before
# that has another base than they then have.
Plugins.instance()
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper  # noqa: E402


class VariantSweeper(BasicSweeper):
    """The product of `params` with a list of variants.

    Args:
        max_batch_size: Jobs that are launched at once; None for all.
        params: Values by key, as for Hydra's own sweeper: `calibration.alpha: 0,0.5,1`.
        variants: An override, or a list of overrides, for each variant.
    """

    def __init__(
        self,
        max_batch_size: int | None = None,
        params: dict[str, str] | None = None,
        variants: Sequence[Any] | None = None,
    ):
        super().__init__(max_batch_size, params)
        self.variants = [_overrides(one) for one in variants or []]

    def split_arguments(  # type: ignore[override]  # a static method there, called on self
        self, overrides: list[Override], max_batch_size: int | None
    ) -> list[list[list[str]]]:
        """Jobs, each a list of overrides, in batches."""
        (jobs,) = BasicSweeper.split_arguments(overrides, None)
        if self.variants:
            jobs = [
                [*job, *_checked(job, variant)]
                for job, variant in itertools.product(jobs, self.variants)
            ]
        return list(BasicSweeper.split_overrides_to_chunks(jobs, max_batch_size))

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Hydra would compose each job here; the command does so, and tells which cannot be."""


def _overrides(variant: Any) -> list[str]:
    if isinstance(variant, str):
        return [variant]
    if isinstance(variant, list | ListConfig) and all(isinstance(one, str) for one in variant):
        return [str(one) for one in variant]
    raise HydraException(
        f"hydra.sweeper.variants holds {variant!r}; write an override (method=gptq4) or a list of "
        "overrides ([method=luq, method.k=half]) for each variant"
    )


def _checked(job: Sequence[str], variant: list[str]) -> list[str]:
    """The variant, which may not set what the command line sets too."""
    keys = {one.split("=")[0] for one in job}
    if both := [one for one in variant if one.split("=")[0] in keys]:
        key = both[0].split("=")[0]
        given = next(one for one in job if one.split("=")[0] == key)
        raise HydraException(
            f"{given}: the variants of this sweep set {key} themselves ({both[0]}); leave it out, "
            "or write a sweep of your own"
        )
    return variant


class CommandLauncher(Launcher):
    """Hands all jobs to the command, which runs them with the launcher of its own configuration."""

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Hydra's: task_function is a `harness.cli.command.Command`."""
        self.command: Any = task_function

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> list[JobReturn]:
        """Hydra's: what each job returns is its score."""
        scores = self.command.run_jobs([list(one) for one in job_overrides])
        return [
            JobReturn(overrides=list(one), status=JobStatus.COMPLETED, _return_value=score)
            for one, score in zip(job_overrides, scores, strict=True)
        ]


def register() -> None:
    """Make both known to Hydra, in this process alone.

    Installing a module of the namespace `hydra_plugins` would have every Hydra program of the
    environment import it.
    """
    plugins = Plugins.instance()
    for plugin in (VariantSweeper, CommandLauncher):
        plugin.__module__ = PLUGINS
        plugins.register(plugin)
    root = PLUGINS.split(".")[0]
    if root not in sys.modules and importlib.util.find_spec(root) is None:
        sys.modules[root] = types.ModuleType(root)
    sys.modules[PLUGINS] = sys.modules[__name__]
