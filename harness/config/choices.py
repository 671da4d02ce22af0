"""The files of the configuration's groups, each with the line that says what it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness.paths import CONF

GROUPS: Mapping[str, str] = {
    "sweep": "+sweep=",
    "model": "model=",
    "method": "method=",
    "suite": "suite=",
    "calibration": "calibration=",
    "launcher": "launcher=",
    "tracker": "tracker=",
}


def choices(group: str) -> list[tuple[str, str]]:
    """(name, summary) of every file in conf/GROUP."""
    return [(path.stem, summary(path)) for path in sorted((CONF / group).glob("*.yaml"))]


def summary(path: Path) -> str:
    """The first line of the comment at the top of a file, behind Hydra's own."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") and not line.startswith("# @package"):
            return line.lstrip("# ")
    return ""
