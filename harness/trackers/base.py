"""Where runs are tracked: a tracker is one file here, called by its name in `tracker=NAME`, with a
function `open_tracker`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

FOLDER = Path(__file__).parent
NONE = "none"
Value = str | int | float | bool | None


@dataclass(frozen=True)
class Run:
    """What is tracked as one run: a variant, or a measurement. identity: the same for the same
    settings, so that a run is taken up again. group: the sweep it belongs to; stage: what is done.
    settings: as a flat mapping, without secrets: nothing of the environment.
    """

    identity: str
    name: str
    group: str
    stage: str
    settings: Mapping[str, Value]


def known_trackers() -> list[str]:
    return sorted({NONE, *(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")})


class Tracker(Protocol):
    """Numbers by name, tables and figures of one run.

    Whatever it raises is told once and tracked no further; the run goes on.
    """

    def scalars(self, values: Mapping[str, float]) -> None: ...
    def table(self, name: str, head: Sequence[str], rows: Sequence[Sequence[Value]]) -> None: ...
    def figure(self, name: str, svg: str) -> None: ...
    def finish(self) -> None: ...


class OpenTracker(Protocol):
    """What the file of a tracker calls `open_tracker`. folder: of the store, for what is written;
    project: a name for all runs.
    """

    def __call__(self, run: Run, folder: Path, project: str) -> Tracker: ...
