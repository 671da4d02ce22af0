"""How work reports on itself: what runs now, how much is left, and how long that takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

ALREADY = "already done"  # the outcome of a cell that took no time


class Progress(Protocol):
    """Where a stage reports to: a terminal, a log, or nobody."""

    def message(self, text: str) -> None:
        """Print a line of text."""

    def table(
        self, head: Sequence[str], rows: Sequence[Sequence[str]], *, wrap: bool = False
    ) -> None:
        """Print rows below headings. wrap: cells hold sentences, which may be wrapped."""

    def announce(self, cells: int, done: int, text: str) -> None:
        """Say how many cells a command has, of which so many are done, and begin to count."""

    def step(self, text: str) -> None:
        """Name what runs now, where there is no count of it."""

    def start_cell(self, label: str, questions: int) -> None:
        """Begin a cell of so many questions."""

    def finish_cell(self, label: str, outcome: str) -> None:
        """End a cell. outcome: in a few words."""

    def blocks(self, what: str, done: int, total: int) -> None:
        """So many decoder blocks of a model are done. what: is done to them."""

    def advance(self, count: int) -> None:
        """So many more questions or windows are done."""


class Silent:
    """A `Progress` that reports to nobody."""

    def message(self, text: str) -> None:
        """Nothing."""

    def table(
        self, head: Sequence[str], rows: Sequence[Sequence[str]], *, wrap: bool = False
    ) -> None:
        """Nothing."""

    def announce(self, cells: int, done: int, text: str) -> None:
        """Nothing."""

    def step(self, text: str) -> None:
        """Nothing."""

    def start_cell(self, label: str, questions: int) -> None:
        """Nothing."""

    def finish_cell(self, label: str, outcome: str) -> None:
        """Nothing."""

    def blocks(self, what: str, done: int, total: int) -> None:
        """Nothing."""

    def advance(self, count: int) -> None:
        """Nothing."""


SILENT = Silent()


class Eta:
    """Estimates when something that counts towards a total will be done.

    Args:
        total: The count at which it is done.
        clock: Gives seconds.
    """

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic):
        self.total, self.done, self.clock = total, 0, clock
        self.began = self.reported = clock()

    def remaining(self) -> float | None:
        """Seconds, if the rest takes as long as what is done; None before anything is."""
        if not self.done:
            return None
        return (self.clock() - self.began) / self.done * max(0, self.total - self.done)

    def due(self, seconds: float) -> bool:
        """Whether so many seconds have passed since the last report, which this one then is."""
        if self.clock() - self.reported < seconds:
            return False
        self.reported = self.clock()
        return True


def duration(seconds: float) -> str:
    """A length of time for people: `12 s`, `7 min`, `2.5 h`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
