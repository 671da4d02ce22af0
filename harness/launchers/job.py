"""What every launcher shares: a job of a sweep, run in a process that others started."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Done:
    """One job: its number, its exit code and, where the configuration could not be, why."""

    number: int
    code: int
    reason: str = ""


Told = Callable[[Done], None]


def run_one(number: int, overrides: list[str]) -> Done:
    """With random numbers as they would be in a process of its own."""
    import numpy as np
    import torch

    from harness.cli.main import run_job

    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    return Done(number, *run_job(overrides))
