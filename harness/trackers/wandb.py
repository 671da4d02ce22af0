"""Tracks a run in Weights & Biases: the only file that imports it.

Without a key, or where its server cannot be reached, it writes offline, to be sent later with
`wandb sync`.
"""

from __future__ import annotations

import functools
import os
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb
from loguru import logger

from harness.trackers.base import Run, Value

PATIENCE = 10.0  # seconds for the server to answer; W&B's own 90 are waited for in every run


class WandbRun:
    """One run of W&B; tables become its tables, figures its HTML panels."""

    def __init__(self, run: Any):
        self.run = run

    def scalars(self, values: Mapping[str, float]) -> None:
        """Record numbers by name."""
        self.run.log(dict(values))

    def table(self, name: str, head: Sequence[str], rows: Sequence[Sequence[Value]]) -> None:
        """Record a table with one heading for each column."""
        self.run.log({name: wandb.Table(columns=list(head), data=[list(row) for row in rows])})

    def figure(self, name: str, svg: str) -> None:
        """Record a figure, given as the text of an SVG file."""
        self.run.log({name: wandb.Html(svg, inject=False)})

    def finish(self) -> None:
        """End the run."""
        self.run.finish()


def open_tracker(run: Run, folder: Path, project: str) -> WandbRun:
    """Begin a run, or continue the one of the same identity where W&B is online."""
    folder.mkdir(parents=True, exist_ok=True)
    offline = "WANDB_MODE" not in os.environ and _must_be_offline()
    settings = wandb.Settings(
        silent=True, console="off", disable_git=True, x_disable_stats=True, x_disable_meta=True
    )
    return WandbRun(
        wandb.init(
            project=project,
            id=run.identity,
            name=run.name,
            group=run.group,
            job_type=run.stage,
            config=dict(run.settings),
            dir=folder,
            mode="offline" if offline else None,
            resume=None if offline else "allow",
            settings=settings,
            reinit="finish_previous",
        )
    )


@functools.cache
def _must_be_offline() -> bool:
    """Whether there is no key, since asking for one would stop a sweep, or no way to the server.

    The server is tried once in a process.
    """
    if not wandb.api.api_key:
        return True
    server = str(wandb.api.settings("base_url"))  # type: ignore[no-untyped-call]
    try:
        urllib.request.urlopen(server, timeout=PATIENCE).close()
    except urllib.error.HTTPError:
        return False  # it answers
    except (OSError, ValueError) as error:
        logger.warning(
            f"W&B's server {server} cannot be reached ({error}); runs are recorded offline. Send"
            " them later with `wandb sync`, or set WANDB_MODE=offline to skip the attempt"
        )
        return True
    return False
