"""`python -m tests.chaos.storm`: a sweep that is killed twenty times must end as if it were not.

Two processes run it on the embedded model. They are killed at random moments, their disk is full
once, and their store loses two bits. At the end it must be the store of an undisturbed sweep, and
nothing may have been done twice without need. Prints what happened; exit code 1 where that does not
hold.
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
from collections.abc import Callable
from pathlib import Path

import psutil

from harness.store.tensors import MANIFEST, TENSORS
from harness.variants.quantizers import quantizer_name
from reports.records.entries import RESULT_FILE
from tests.chaos.comparison import ANSWERED, QUANTIZED, Traces, contents, differences
from tests.paths import ROOT
from tests.sweeps import variants

WITNESS = Path(__file__).parent / "witness"
VARIANTS = variants(
    "method=fp",
    "method=gptq4",
    "method=rtn3",
    "method=billm",
    "method=gptq3",
    "method=luq method.k=quarters",
)
BATCH = 4
LAUNCHER = ("launcher=joblib", "launcher.workers=2")
SWEEP = ("-m", VARIANTS, "limit=100", f"batch_size={BATCH}", *LAUNCHER)
KILLS = 20
# The disk is full behind one kill; behind the other, bits are flipped as soon as there are any.
FULL, FLIPPED = 8, 14
# Every other kill waits until something is answered or quantized, and falls into so many seconds
# from then on.
AT_WORK = 5.0
# Bytes that a file may have while the disk is full: a batch of answers fits, the result of a suite
# does not.
DISK = 16384


class Storm:
    """A sweep that is disturbed.

    Args:
        traces: What it leaves behind.
        seed: Draws the moments and the victims.
        start_seconds: How long an undisturbed sweep takes up to its first question.
        report: Is called with a line for everything that happens.
    """

    def __init__(
        self, traces: Traces, seed: int, start_seconds: float, report: Callable[[str], None]
    ) -> None:
        self.traces, self.start_seconds, self.report = traces, start_seconds, report
        self.random = random.Random(seed)
        self.kills = 0

    def run(self) -> None:
        """Kill, fill and flip, then leave the sweep alone until it has ended.

        Raises:
            AssertionError: It ended too early, or with an error.
        """
        sweep = start(self.traces)
        while self.kills < KILLS or not self.traces.damaged:
            self.wait(sweep)
            if sweep.poll() is not None:
                output = sweep.communicate()[0][-3000:]
                raise AssertionError(
                    f"the sweep ended after {self.kills} of {KILLS} kills, exit code"
                    f" {sweep.returncode}: {output}"
                )
            full = self.kills + 1 == FULL
            flip = self.kills + 1 >= FLIPPED and not self.traces.damaged
            ended = self.kill(sweep, first=full or flip)
            if full:
                self.fill()
            if flip:
                self.flip()
            if ended:
                sweep = start(self.traces)
        self.report(f"{self.kills} kills; undisturbed from here")
        output, _ = sweep.communicate(timeout=900)
        if sweep.returncode != 0:
            raise AssertionError(f"exit code {sweep.returncode}: {output[-3000:]}")

    def wait(self, sweep: subprocess.Popen[str]) -> None:
        """For a random moment: of the work, or of any time up to it."""
        before = self.traces.recorded_bytes()
        if self.random.random() < 0.5:
            time.sleep(self.random.uniform(0, 0.8 * self.start_seconds))
            return
        while self.traces.recorded_bytes() == before and sweep.poll() is None:
            time.sleep(0.1)
        time.sleep(self.random.uniform(0, AT_WORK))

    def kill(self, sweep: subprocess.Popen[str], *, first: bool) -> bool:
        """Kill the process that the user started, or any of the sweep's; True if it was the first.

        Raises:
            AssertionError: A worker outlived the sweep.
        """
        main = psutil.Process(sweep.pid)
        workers = _workers(main)
        victim = main if first else self.random.choice([main, *workers])
        with contextlib.suppress(psutil.NoSuchProcess):  # of a pool that breaks at this moment
            victim.kill()
        self.kills += 1
        self.report(
            f"kill {self.kills}: {'the sweep' if victim == main else 'a worker'}, {len(workers)}"
            f" workers; {self.traces.progress()}"
        )
        if victim != main:
            # loky ends all workers when one dies.
            self.traces.lost |= {worker.pid for worker in workers}
            return False
        sweep.wait()
        _, alive = psutil.wait_procs(workers, timeout=20)
        if alive:
            raise AssertionError(f"{len(alive)} workers outlived the sweep by 20 seconds")
        self.traces.lost |= {process.pid for process in (main, *workers)}
        return True

    def fill(self) -> None:
        """Run once while no file can grow beyond DISK bytes.

        Raises:
            AssertionError: The sweep does not say that it cannot write.
        """
        before, earlier = self.traces.progress(), self.traces.processes()
        sweep = start(self.traces, disk=DISK)
        output, _ = sweep.communicate(timeout=600)
        message = "cannot write to the store"
        if sweep.returncode != 1 or message not in output:
            raise AssertionError(f"a full disk gave exit code {sweep.returncode}: {output[-3000:]}")
        self.traces.full = self.traces.processes() - earlier
        line = next(line for line in output.splitlines() if message in line)
        self.report(
            f"full disk: exit code 1, '{line.strip()[:180]}'; {before} before,"
            f" {self.traces.progress()} after"
        )

    def flip(self) -> None:
        """Flip a bit of a result and one of a block in the bank of the same variant, if any."""
        store = self.traces.store
        cells = [json.loads(path.read_text()) for path in store.glob("cells/*/cell.json")]
        cells = [cell for cell in cells if cell["low"] != "none" or cell["high"] != "none"]
        if not cells:
            return
        cell = self.random.choice(cells)
        entries = []
        for path in store.glob(f"bank/*/{MANIFEST}"):
            meta = json.loads(path.read_text())["meta"]
            if cell["blocks"][meta["block"]]["kept"] == quantizer_name(meta["quantizer"]):
                entries.append(path.parent / TENSORS)
        result = store / "results" / cell["result"] / RESULT_FILE
        for path in (result, self.random.choice(sorted(entries))):
            data = bytearray(path.read_bytes())
            place = self.random.randrange(len(data))
            data[place] ^= 1 << self.random.randrange(8)
            path.write_bytes(data)
            self.traces.damaged.append(path)
            self.report(
                f"flipped a bit of byte {place:,} of {path.relative_to(store)}"
                f" ({cell['method']} k={cell['k']} on {cell['suite']})"
            )


def start(traces: Traces, *, disk: int | None = None) -> subprocess.Popen[str]:
    """Start the sweep, whose processes record what they do.

    Args:
        traces: Where its store and its records go.
        disk: Bytes that no file can grow beyond.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": str(WITNESS),
        "WITNESS": str(traces.records),
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    limit = (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (disk, disk))) if disk else None
    return subprocess.Popen(
        [sys.executable, "-m", "harness", *SWEEP, f"store={traces.store}"],
        env=environment,
        preexec_fn=limit,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=ROOT,
    )


def _workers(sweep: psutil.Process) -> list[psutil.Process]:
    workers = []
    for process in sweep.children():
        with contextlib.suppress(psutil.NoSuchProcess):  # also a zombie
            if "LokyProcess" in " ".join(process.cmdline()):
                workers.append(process)
    return workers


def storm_over(folder: Path, seed: int, report: Callable[[str], None]) -> list[str]:
    """Run the sweep twice, undisturbed and disturbed.

    Args:
        folder: Where both stores go.
        seed: Draws the moments of the kills.
        report: Is called with a line for everything that happens.

    Returns:
        What is wrong; nothing, if all is as it should be.
    """
    began = time.monotonic()

    def tell(text: str) -> None:
        report(f"{time.monotonic() - began:6.1f} s  {text}")

    undisturbed, disturbed = (Traces(folder / name) for name in ("calm", "storm"))
    for traces in (undisturbed, disturbed):
        traces.records.mkdir(parents=True)
    sweep = start(undisturbed)
    while not any(undisturbed.records.iterdir()) and sweep.poll() is None:
        time.sleep(0.2)
    start_seconds = time.monotonic() - began
    output, _ = sweep.communicate(timeout=900)
    if sweep.returncode != 0:
        return [f"the undisturbed sweep ended with exit code {sweep.returncode}: {output[-3000:]}"]
    tell(
        f"undisturbed: {undisturbed.progress()}, {len(undisturbed.done(ANSWERED)):,} questions, the"
        f" first after {start_seconds:.0f} s"
    )
    Storm(disturbed, seed, start_seconds, tell).run()
    tell(f"ended: {disturbed.progress()}")
    wrong = list(differences(undisturbed, disturbed, BATCH))
    tell(_summary(disturbed, len(wrong)))
    command = [sys.executable, "-m", "harness", "stage=verify", "dry_run=true"]
    verified = subprocess.run(
        [*command, f"store={disturbed.store}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    tell(verified.stdout.strip().splitlines()[-1])
    return wrong + ([] if verified.returncode == 0 else [verified.stdout])


def _summary(traces: Traces, wrong: int) -> str:
    answered, blocks = traces.done(ANSWERED), traces.done(QUANTIZED)
    more, again = (sum(len(doers) - 1 for doers in done.values()) for done in (answered, blocks))
    return (
        f"{len(answered):,} questions, {more} of them asked again because the process died that"
        f" asked before; {len(blocks)} blocks, {again} quantized again;"
        f" {len(contents(traces.store)):,} files and logs, {wrong} differences"
    )


def main() -> int:
    """Print what happens and what is wrong; 1 where something is."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.storm", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="of the two stores; else they are removed")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        wrong = storm_over(folder, options.seed, lambda text: print(text, flush=True))  # noqa: T201
    for line in wrong:
        print(line)  # noqa: T201
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
