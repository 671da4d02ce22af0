"""Ratios of time: two ways to the same result, measured in turn in one process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Ratio:
    """How many times as long the reference takes.

    Attributes:
        median: Over the pairs of runs.
        low: The smallest.
        high: The largest.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, ratios: Sequence[float]) -> Ratio:
        """The median and the range of measured ratios."""
        return cls(statistics.median(ratios), min(ratios), max(ratios))

    def __str__(self) -> str:
        return f"{self.median:.1f} ({self.low:.1f} to {self.high:.1f})"


def paired_ratio(
    reference: Callable[[], object], ours: Callable[[], object], repeats: int
) -> Ratio:
    """Seconds of `reference` over seconds of `ours`, pair by pair, after one warm-up of `ours`."""
    ours()
    ratios = []
    for _ in range(repeats):
        reference_seconds = seconds_of(reference)
        ratios.append(reference_seconds / seconds_of(ours))
    return Ratio.of(ratios)


def seconds_of(run: Callable[[], object]) -> float:
    """Wall-clock seconds of one call, work that waits on the GPU included."""
    began = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began
