"""What an undisturbed and a disturbed sweep did, and what their stores hold."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.store import digest
from harness.store.answers import AnswerLog
from reports.records.entries import CELL_FILE

# Kinds of entries that must be equal.
COMPARED = (
    "answers",
    "bank",
    "block_errors",
    "calibration_pictures",
    "cells",
    "data",
    "entropy",
    "factors",
    "features",
    "pictures",
    "results",
    "scores",
    "stats",
)
# Of a cell: how long it took, and a command that names the store.
DIFFERING = ("seconds", "command")
ANSWERED, QUANTIZED = "answered", "quantized"  # what `witness/sitecustomize.py` records


@dataclass
class Traces:
    """What a sweep leaves behind, and what happened to its processes.

    Attributes:
        folder: Of the store and of what its processes recorded.
        lost: Processes that were killed, or that ended with one that was.
        full: Processes that worked while the disk was full.
        damaged: Files of which a bit was flipped.
    """

    folder: Path
    lost: set[int] = field(default_factory=set)
    full: set[int] = field(default_factory=set)
    damaged: list[Path] = field(default_factory=list)

    @property
    def store(self) -> Path:
        """Folder of the store."""
        return self.folder / "runs"

    @property
    def records(self) -> Path:
        """Folder of what the processes recorded, a few lines a file."""
        return self.folder / "witnessed"

    def recorded_bytes(self) -> int:
        """Size of all records."""
        return sum(path.stat().st_size for path in self.records.iterdir())

    def recorded(self) -> list[dict[str, Any]]:
        """All records in the order of time."""
        lines = [
            json.loads(line)
            for path in self.records.iterdir()
            for line in path.read_text().splitlines()
        ]
        return sorted(lines, key=lambda line: line["at"])

    def processes(self) -> set[int]:
        """Every process that recorded something."""
        return {line["process"] for line in self.recorded()}

    def done(self, what: str) -> dict[tuple[str, str], list[int]]:
        """By question or block, the processes that worked on it, in the order of time."""
        processes = defaultdict(list)
        for line in self.recorded():
            if line["what"] == what:
                for part in line["parts"]:
                    processes[line["key"], part].append(line["process"])
        return processes

    def progress(self) -> str:
        """How much the store holds."""
        cells, blocks = (len(list((self.store / kind).glob("*"))) for kind in ("cells", "bank"))
        return f"{cells} cells, {blocks} blocks"


def contents(root: Path) -> dict[str, str]:
    """Digest of every file of a store that must be equal, by path.

    Answers are compared by question, however many files hold them.
    """
    digests = {}
    for kind in COMPARED:
        for path in sorted((root / kind).rglob("*")):
            name = str(path.relative_to(root))
            if kind == "answers":
                if path.is_dir():
                    logs = [AnswerLog.read(file) for file in path.glob("*.json")]
                    answers = {question: answer for log in logs for question, answer in log.items()}
                    digests[name] = digest.of_value(answers)
            elif kind == "cells":
                if path.name == CELL_FILE:
                    cell = json.loads(path.read_text())
                    same = {key: value for key, value in cell.items() if key not in DIFFERING}
                    digests[name] = digest.of_value(same)
            elif path.is_file():
                digests[name] = digest.of_file(path)
    return digests


def differences(undisturbed: Traces, disturbed: Traces, batch: int) -> Iterator[str]:
    """Every way in which the sweeps differ that they must not differ in.

    Args:
        undisturbed: The reference.
        disturbed: Its work may be repeated only where a process was lost.
        batch: Number of answers that a lost process may lose.
    """
    ours, reference = contents(disturbed.store), contents(undisturbed.store)
    yield from (f"only in one store: {name}" for name in sorted(ours.keys() ^ reference.keys()))
    common = sorted(ours.keys() & reference.keys())
    yield from (f"differs: {name}" for name in common if ours[name] != reference[name])
    for what in (ANSWERED, QUANTIZED):
        repeated = [key for key, doers in undisturbed.done(what).items() if len(doers) > 1]
        yield from (f"{what} twice in the undisturbed sweep: {key}" for key in repeated)
    yield from _answers_differ(undisturbed, disturbed, batch)
    # A batch of answers fits on the full disk, a block does not.
    again = _needless(disturbed, QUANTIZED, disturbed.lost | disturbed.full)
    if len(again) > 1:  # one is the block of which a bit was flipped
        yield f"quantized again, but not lost: {again}"
    aside = {path.name.rsplit("-", 1)[0] for path in (disturbed.store / "corrupt").iterdir()}
    for path in disturbed.damaged:
        if f"{path.parts[-3]}-{path.parts[-2]}" not in aside:
            yield f"damage not noticed: {path}"


def _answers_differ(undisturbed: Traces, disturbed: Traces, batch: int) -> Iterator[str]:
    answered, reference = disturbed.done(ANSWERED), undisturbed.done(ANSWERED)
    if answered.keys() != reference.keys():
        yield f"{len(answered.keys() ^ reference.keys())} questions were asked in one sweep only"
    # On a full disk a command ends, and with it the processes that answer.
    for key in _needless(disturbed, ANSWERED, disturbed.lost | disturbed.full):
        yield f"answered again, but not lost: {key}"
    lost: dict[int, int] = defaultdict(int)
    for processes in answered.values():
        for process in processes[:-1]:
            lost[process] += 1
    for process, count in lost.items():
        if count > batch:
            yield f"process {process} lost {count} answers, more than a batch"


def _needless(traces: Traces, what: str, lost: set[int]) -> list[tuple[str, str]]:
    """What was done again although the process that did it before was none of these."""
    return [key for key, processes in traces.done(what).items() if set(processes[:-1]) - lost]
