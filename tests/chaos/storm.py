"""`python -m tests.chaos.storm`: a sweep of two processes on the embedded model whose processes are
killed at random moments, whose disk is full once, and whose store loses two bytes; at the end it
must be the store of an undisturbed sweep, and nothing done twice without need. Prints what
happened, and exits with 1 where that does not hold.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from harness.stages.evaluate import CELL_FILE
from harness.store import digest
from harness.store.store import MANIFEST, TENSORS, AnswerLog
from harness.variants.calibration_run import quantizer_name

WITNESS = Path(__file__).parent / "witness"
CELLS = (
    "cell='method=fp','method=gptq4','method=rtn3','method=billm','method=gptq3','method=luq"
    " method.k=quarters'"
)
BATCH = 4
SWEEP = ["-m", CELLS, "limit=100", f"batch_size={BATCH}", "launcher=joblib", "launcher.workers=2"]
KILLS = 20
FULL, FLIPPED = (
    8,
    14,
    # kills behind which the disk is full, and behind which bits are flipped as soon as there is
    # something
)
# every other kill waits until something is asked or quantized, and falls into so many seconds from
# then on
AT_WORK = 5.0
# bytes that a file may have while the disk is full: a batch of answers fits, the result of a suite
# does not
DISK = 16384
KEPT = (
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
OF_THE_MOMENT = (
    "seconds",
    "command",
)  # of a cell: how long it took, and a command that names the store


@dataclass
class Storm:
    """folder: of the store and of what was witnessed. lost: processes that were killed, or ended
    with the one that was; full: those that worked while the disk was. start_seconds: how long an
    undisturbed sweep takes up to its first question.
    """

    folder: Path
    random: random.Random
    say: Callable[[str], None]
    lost: set[int] = field(default_factory=set)
    full: set[int] = field(default_factory=set)
    kills: int = 0
    start_seconds: float = 20.0
    damaged: list[Path] = field(default_factory=list)

    @property
    def store(self) -> Path:
        return self.folder / "runs"

    @property
    def log(self) -> Path:
        """The folder of what was witnessed."""
        return self.folder / "witnessed"

    def start(self, *, disk: int | None = None) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            "PYTHONPATH": str(WITNESS),
            "WITNESS": str(self.log),
            "OMP_WAIT_POLICY": "PASSIVE",
        }
        limit = (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (disk, disk))) if disk else None
        return subprocess.Popen(
            [sys.executable, "-m", "harness", *SWEEP, f"store={self.store}"],
            env=environment,
            preexec_fn=limit,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=Path(__file__).parents[2],
        )

    def rage(self) -> None:
        """Kill, fill and flip, until the sweep has been left in peace and is through."""
        sweep = self.start()
        while self.kills < KILLS or not self.damaged:
            self.wait(sweep)
            if sweep.poll() is not None:
                said = sweep.communicate()[0][-3000:]
                raise AssertionError(
                    f"the sweep ended after {self.kills} of {KILLS} kills, exit code"
                    f" {sweep.returncode}: {said}"
                )
            full, flip = self.kills + 1 == FULL, self.kills + 1 >= FLIPPED and not self.damaged
            whole = self.kill(sweep, whole=full or flip)
            if full:
                self.fill()
            if flip:
                self.flip()
            if whole:
                sweep = self.start()
        self.say(f"{self.kills} kills; left in peace from here")
        said, _ = sweep.communicate(timeout=900)
        if sweep.returncode != 0:
            raise AssertionError(f"exit code {sweep.returncode}: {said[-3000:]}")

    def wait(self, sweep: subprocess.Popen[str]) -> None:
        """For a random moment: of the work, or of any time up to it."""
        begun = self.lines()
        if self.random.random() < 0.5:
            time.sleep(self.random.uniform(0, 0.8 * self.start_seconds))
            return
        while self.lines() == begun and sweep.poll() is None:
            time.sleep(0.1)
        time.sleep(self.random.uniform(0, AT_WORK))

    def lines(self) -> int:
        return sum(path.stat().st_size for path in self.log.iterdir())

    def kill(self, sweep: subprocess.Popen[str], *, whole: bool) -> bool:
        """One of its processes, at random, or the one that the user started; returns whether it was
        that.
        """
        first = psutil.Process(sweep.pid)
        workers = _workers(first)
        victim = first if whole else self.random.choice([first, *workers])
        with contextlib.suppress(
            psutil.NoSuchProcess
        ):  # one of a pool that breaks at this very moment
            victim.kill()
        self.kills += 1
        self.say(
            f"kill {self.kills}: {'the sweep' if victim == first else 'a worker'}, {len(workers)}"
            f" workers; {self.progress()}"
        )
        if victim != first:
            self.lost |= {
                one.pid for one in workers
            }  # loky ends the whole pool when one of it dies
            return False
        sweep.wait()
        _, alive = psutil.wait_procs(workers, timeout=20)
        if alive:
            raise AssertionError(f"{len(alive)} workers outlived the sweep by 20 seconds")
        self.lost |= {one.pid for one in (first, *workers)}
        return True

    def fill(self) -> None:
        """One run while no file can grow beyond DISK bytes."""
        before, known = self.progress(), {line["process"] for line in self.witnessed()}
        sweep = self.start(disk=DISK)
        said, _ = sweep.communicate(timeout=600)
        if sweep.returncode != 1 or "cannot write to the store" not in said:
            raise AssertionError(f"a full disk gave exit code {sweep.returncode}: {said[-3000:]}")
        self.full = {line["process"] for line in self.witnessed()} - known
        told = next(line for line in said.splitlines() if "cannot write to the store" in line)
        self.say(
            f"full disk: exit code 1, '{told.strip()[:180]}'; {before} before, {self.progress()}"
            " after"
        )

    def flip(self) -> None:
        """A bit of a result and one of a block in the bank of the same variant, if there is one."""
        cells = [json.loads(path.read_text()) for path in self.store.glob("cells/*/cell.json")]
        cells = [cell for cell in cells if cell["low"] != "none" or cell["high"] != "none"]
        if not cells:
            return
        cell = self.random.choice(cells)
        entries = []
        for path in self.store.glob(f"bank/*/{MANIFEST}"):
            meta = json.loads(path.read_text())["meta"]
            if cell["blocks"][meta["block"]]["kept"] == quantizer_name(meta["quantizer"]):
                entries.append(path.parent / TENSORS)
        for path in (
            self.store / "results" / cell["result"] / "result.json",
            self.random.choice(sorted(entries)),
        ):
            data = bytearray(path.read_bytes())
            place = self.random.randrange(len(data))
            data[place] ^= 1 << self.random.randrange(8)
            path.write_bytes(data)
            self.damaged.append(path)
            self.say(
                f"flipped a bit of byte {place:,} of {path.relative_to(self.store)}"
                f" ({cell['method']} k={cell['k']} on {cell['suite']})"
            )

    def progress(self) -> str:
        return (
            f"{len(list(self.store.glob('cells/*')))} cells, {len(list(self.store.glob('bank/*')))}"
            " blocks"
        )

    def witnessed(self) -> list[dict[str, Any]]:
        """In order of time."""
        lines = [
            json.loads(line)
            for path in self.log.iterdir()
            for line in path.read_text().splitlines()
        ]
        return sorted(lines, key=lambda line: line["at"])

    def done(self, what: str) -> dict[tuple[str, str], list[int]]:
        """By what was done, the processes that did it."""
        found = defaultdict(list)
        for line in self.witnessed():
            if line["what"] == what:
                for part in line["parts"]:
                    found[line["key"], part].append(line["process"])
        return found


def _workers(sweep: psutil.Process) -> list[psutil.Process]:
    found = []
    for process in sweep.children():
        with contextlib.suppress(psutil.NoSuchProcess):  # also a zombie
            if "LokyProcess" in " ".join(process.cmdline()):
                found.append(process)
    return found


def contents(root: Path) -> dict[str, str]:
    """Digest of every file that results are made of, by path; answers by question, however many
    files hold them.
    """
    found = {}
    for kind in KEPT:
        for path in sorted((root / kind).rglob("*")):
            name = str(path.relative_to(root))
            if kind == "answers":
                if path.is_dir():
                    answers = [AnswerLog.read(file) for file in path.glob("*.json")]
                    found[name] = digest.of_value(
                        {question: answer for part in answers for question, answer in part.items()}
                    )
            elif kind == "cells":
                if path.name == CELL_FILE:
                    cell = json.loads(path.read_text())
                    found[name] = digest.of_value(
                        {key: value for key, value in cell.items() if key not in OF_THE_MOMENT}
                    )
            elif path.is_file():
                found[name] = digest.of_file(path)
    return found


def needless(storm: Storm, what: str, lost: set[int]) -> list[tuple[str, str]]:
    """What was done again although the process that did it before was none of these."""
    return [key for key, doers in storm.done(what).items() if set(doers[:-1]) - lost]


def compare(calm: Storm, storm: Storm) -> Iterator[str]:
    """Every way in which the two differ that should not be."""
    mine, theirs = contents(storm.store), contents(calm.store)
    yield from (f"only in one store: {name}" for name in sorted(mine.keys() ^ theirs.keys()))
    yield from (
        f"differs: {name}"
        for name in sorted(mine.keys() & theirs.keys())
        if mine[name] != theirs[name]
    )
    asked, wanted = storm.done("asked"), calm.done("asked")
    if asked.keys() != wanted.keys():
        yield f"{len(asked.keys() ^ wanted.keys())} questions were asked in one sweep only"
    yield from (f"asked twice in peace: {key}" for key, doers in wanted.items() if len(doers) > 1)
    yield from (f"asked again, but not lost: {key}" for key in needless(storm, "asked", storm.lost))
    yield from (
        f"quantized twice in peace: {key}"
        for key, doers in calm.done("quantized").items()
        if len(doers) > 1
    )
    again = needless(
        storm, "quantized", storm.lost | storm.full
    )  # a batch of answers fits on the full disk, a block does not
    if len(again) > 1:  # the block that a bit was flipped of
        yield f"quantized again, but not lost: {again}"
    lost = defaultdict(int)
    for doers in asked.values():
        for process in doers[:-1]:
            lost[process] += 1
    yield from (
        f"process {process} lost {count} answers, more than a batch"
        for process, count in lost.items()
        if count > BATCH
    )
    aside = {path.name.rsplit("-", 1)[0] for path in (storm.store / "corrupt").iterdir()}
    yield from (
        f"not noticed: {path}"
        for path in storm.damaged
        if f"{path.parts[-3]}-{path.parts[-2]}" not in aside
    )


def storm_over(folder: Path, seed: int, say: Callable[[str], None]) -> list[str]:
    """What went wrong: the empty list, if all is as it should be."""
    began = time.monotonic()

    def tell(text: str) -> None:
        say(f"{time.monotonic() - began:6.1f} s  {text}")

    calm, storm = (Storm(folder / name, random.Random(seed), tell) for name in ("calm", "storm"))
    for one in (calm, storm):
        one.log.mkdir(parents=True)
    sweep = calm.start()
    while not any(calm.log.iterdir()) and sweep.poll() is None:
        time.sleep(0.2)
    storm.start_seconds = time.monotonic() - began
    said, _ = sweep.communicate(timeout=900)
    if sweep.returncode != 0:
        return [f"the undisturbed sweep ended with exit code {sweep.returncode}: {said[-3000:]}"]
    tell(
        f"undisturbed: {calm.progress()}, {len(calm.done('asked')):,} questions asked, begun after"
        f" {storm.start_seconds:.0f} s"
    )
    storm.rage()
    tell(f"through: {storm.progress()}")
    wrong = list(compare(calm, storm))
    asked, blocks = storm.done("asked"), storm.done("quantized")
    more, again = (sum(len(doers) - 1 for doers in found.values()) for found in (asked, blocks))
    tell(
        f"{len(asked):,} questions, {more} of them asked again because the process died that asked"
        f" before; {len(blocks)} blocks, {again} quantized again; {len(contents(storm.store)):,}"
        f" files and logs, {len(wrong)} differences"
    )
    verified = subprocess.run(
        [sys.executable, "-m", "harness", "stage=verify", "dry_run=true", f"store={storm.store}"],
        capture_output=True,
        text=True,
        check=False,
    )
    tell(verified.stdout.strip().splitlines()[-1])
    return wrong + ([] if verified.returncode == 0 else [verified.stdout])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--folder", type=Path, help="where the two stores stay; else they are removed"
    )
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        wrong = storm_over(folder, given.seed, lambda text: print(text, flush=True))  # noqa: T201
    for line in wrong:
        print(line)  # noqa: T201
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
