"""One JSON object a line, in tracking/jsonl/RUN.jsonl of the store.

Lines of a run that is taken up again are added.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.trackers.base import Run, Value


class JsonLines:
    def __init__(self, path: Path):
        self.path = path

    def scalars(self, values: Mapping[str, float]) -> None:
        self._add({"scalars": dict(values)})

    def table(self, name: str, head: Sequence[str], rows: Sequence[Sequence[Value]]) -> None:
        self._add({"table": name, "head": list(head), "rows": [list(row) for row in rows]})

    def figure(self, name: str, svg: str) -> None:
        self._add({"figure": name, "svg": svg})

    def finish(self) -> None:
        self._add({"finished": True})

    def _add(self, record: Mapping[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, allow_nan=False) + "\n")


def open_tracker(run: Run, folder: Path, project: str) -> JsonLines:
    folder.mkdir(parents=True, exist_ok=True)
    tracker = JsonLines(folder / f"{run.identity}.jsonl")
    tracker._add({"run": asdict(run), "project": project})
    return tracker
