"""How fast something goes, and how long it will still take."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pace:
    """Counts towards a total. clock: seconds."""

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic):
        self.total, self.done, self.clock = total, 0, clock
        self.began = self.told = clock()

    def remaining(self) -> float | None:
        """Seconds, if the rest goes on like what is done; None before anything is."""
        if not self.done:
            return None
        return (self.clock() - self.began) / self.done * max(0, self.total - self.done)

    def due(self, seconds: float) -> bool:
        """Whether so much time has passed since it was last told, which it is then."""
        if self.clock() - self.told < seconds:
            return False
        self.told = self.clock()
        return True


def duration(seconds: float) -> str:
    """A length of time as people say it."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
