"""What every launcher shares: a job of a sweep, run in a process that another one started."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class JobResult:
    """How one job ended.

    Attributes:
        number: Of the job in its sweep.
        code: Exit code.
        reason: Why, for a job that did not end well; else "".
    """

    number: int
    code: int
    reason: str = ""


OnResult = Callable[[JobResult], None]


def run_one(number: int, overrides: list[str]) -> JobResult:
    """Run a job with random numbers as they would be in a process of its own."""
    import numpy as np
    import torch

    from harness.stages.run import run_alone

    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    return JobResult(number, *run_alone(overrides))
