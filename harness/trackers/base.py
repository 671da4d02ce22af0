"""What a tracker is, and which trackers there are: files of this folder that have a function
`open_tracker`, and entry points of other packages.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Protocol

import harness.trackers
from harness.entry_points import entry_point_names, find_entry_point
from harness.errors import ConfigError

GROUP = "harness.trackers"  # of the entry points, and the package whose files are trackers
NONE = "none"
SUPPORT = {"base", "guarded", "values"}  # files of the folder that are no trackers
Value = str | int | float | bool | None


@dataclass(frozen=True)
class Run:
    """What is tracked as one run: a variant, a measurement or a report.

    Attributes:
        identity: A digest of stage and settings: a run that is repeated continues under it.
        name: For people.
        group: The sweep that the run belongs to.
        stage: The stage that the run is of.
        settings: The configuration as one flat mapping, without anything of the environment.
    """

    identity: str
    name: str
    group: str
    stage: str
    settings: Mapping[str, Value]


class Tracker(Protocol):
    """Receives the numbers, tables and figures of one run.

    Whatever it raises is reported once, and the run goes on without it.
    """

    def scalars(self, values: Mapping[str, float]) -> None:
        """Record numbers by name."""

    def table(self, name: str, head: Sequence[str], rows: Sequence[Sequence[Value]]) -> None:
        """Record a table with one heading for each column."""

    def figure(self, name: str, svg: str) -> None:
        """Record a figure, given as the text of an SVG file."""

    def finish(self) -> None:
        """End the run."""


class OpenTracker(Protocol):
    """The function `open_tracker` of a tracker's file, or the object of its entry point."""

    def __call__(self, run: Run, folder: Path, project: str) -> Tracker:
        """Begin a run, or continue the one of the same identity.

        Args:
            run: What is tracked.
            folder: For the tracker's files, inside the store; it may not exist yet.
            project: The name under which all runs are filed.
        """


class Untracked:
    """The tracker `none`, which records nothing."""

    def scalars(self, values: Mapping[str, float]) -> None:
        """Nothing."""

    def table(self, name: str, head: Sequence[str], rows: Sequence[Sequence[Value]]) -> None:
        """Nothing."""

    def figure(self, name: str, svg: str) -> None:
        """Nothing."""

    def finish(self) -> None:
        """Nothing."""


def known_trackers() -> list[str]:
    """Names of all trackers, without importing them."""
    return sorted({NONE, *_files(), *entry_point_names(GROUP)})


def find_tracker(name: str) -> OpenTracker:
    """The opener of a tracker, which imports the tracker's code only when it is called.

    A tracker of this folder takes precedence over an entry point of its name.

    Raises:
        ConfigError: No tracker has this name, or several packages bring one; lists the known names.
    """
    if name == NONE:
        return lambda run, folder, project: Untracked()
    if name in _files():
        return _of_module(f"{GROUP}.{name}")
    point = find_entry_point(GROUP, name)
    if point is None:
        raise ConfigError(
            f"tracker is {name!r}; choose one of {', '.join(known_trackers())}, or install the"
            " package that has it"
        )
    return _of_entry_point(point)


def _files() -> set[str]:
    modules = {module.name for module in pkgutil.iter_modules(harness.trackers.__path__)}
    return modules - SUPPORT


def _of_module(module: str) -> OpenTracker:
    def open_tracker(run: Run, folder: Path, project: str) -> Tracker:
        opener: OpenTracker = importlib.import_module(module).open_tracker
        return opener(run, folder, project)

    return open_tracker


def _of_entry_point(point: EntryPoint) -> OpenTracker:
    def open_tracker(run: Run, folder: Path, project: str) -> Tracker:
        opener: OpenTracker = point.load()
        return opener(run, folder, project)

    return open_tracker
