"""Tracks a run as lines of JSON in tracking/jsonl/RUN.jsonl of the store."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.trackers.base import Run, Value


class JsonLines:
    """One JSON object a line; a run that continues adds lines to its file."""

    def __init__(self, path: Path):
        self.path = path

    def scalars(self, values: Mapping[str, float]) -> None:
        """Record numbers by name."""
        self.add({"scalars": dict(values)})

    def table(self, name: str, head: Sequence[str], rows: Sequence[Sequence[Value]]) -> None:
        """Record a table with one heading for each column."""
        self.add({"table": name, "head": list(head), "rows": [list(row) for row in rows]})

    def figure(self, name: str, svg: str) -> None:
        """Record a figure, given as the text of an SVG file."""
        self.add({"figure": name, "svg": svg})

    def finish(self) -> None:
        """End the run."""
        self.add({"finished": True})

    def add(self, record: Mapping[str, Any]) -> None:
        """Append one line."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, allow_nan=False) + "\n")


def open_tracker(run: Run, folder: Path, project: str) -> JsonLines:
    """Begin or continue the file of a run; see `OpenTracker`."""
    folder.mkdir(parents=True, exist_ok=True)
    tracker = JsonLines(folder / f"{run.identity}.jsonl")
    tracker.add({"run": asdict(run), "project": project})
    return tracker
