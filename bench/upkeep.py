"""`python -m bench`, its part on the upkeep of a store: how long commands take without a model.

The store has 540 cells, 60 variants on nine suites, of 300 answers each, and the suites' data, as
one that was filled by evaluation. Seconds are those after
all imports, of a process of its own; memory is that of the whole process.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from harness.evaluation.pictures.data import mini_data
from harness.store import digest
from harness.store.records import save_cell, save_result
from harness.store.store import Store
from reports.records.results import Answer, Block, Cell, MetricScore, SuiteResult

VARIANTS, ANSWERS, BLOCKS = 60, 300, 8
SUITES = ("mme", "mmbench", "textvqa", "vqav2", "gqa", "pope", "chartqa", "docvqa", "mathvista")
JOBS = ("method=luq", "method.order=random", f"method.order_seed=range({VARIANTS})", "limit=300")
COMMANDS = {
    "status": ("-m", "stage=status", *JOBS),
    "report": ("stage=report",),
    "verify": ("stage=verify",),
    "gc": ("stage=gc",),
}
# Prints seconds and MiB.
TIMED = """
import contextlib, io, resource, sys, time
import harness.cli.main, harness.stages.status, harness.stages.verify, harness.stages.gc
began = time.perf_counter()
with contextlib.redirect_stdout(io.StringIO()):
    code = harness.cli.main.main()
assert code == 0, code
print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def bench_upkeep() -> None:
    """Print seconds and memory of each command."""
    with tempfile.TemporaryDirectory() as folder:
        fill(Store(Path(folder) / "runs"))
        for name, arguments in COMMANDS.items():
            done = subprocess.run(
                [sys.executable, "-c", TIMED, f"store={folder}/runs", *arguments],
                capture_output=True,
                text=True,
                check=True,
            )
            seconds, memory = map(float, done.stdout.split())
            print(
                f"stage={name} with {VARIANTS * len(SUITES)} cells of {ANSWERS} answers:"
                f" {seconds:.1f} s, {memory:.0f} MiB",
                flush=True,
            )


def fill(store: Store) -> None:
    """Put the cells and results, and the questions, into a store."""
    mini_data(store, tuple(f"mini_{suite}" for suite in SUITES))
    rng = random.Random(0)
    for number in range(VARIANTS):
        for suite in SUITES:
            key = digest.of_value(["result", number, suite])
            save_result(store, key, _result(suite, list(_answers(number, rng))))
            save_cell(store, digest.of_value(["cell", number, suite]), _cell(number, suite, key))


def _answers(number: int, rng: random.Random) -> Iterator[Answer]:
    for question in range(ANSWERS):
        yield Answer(
            question_id=str(question),
            cluster=str(question // 2),
            prompt=f"Question {question}: how many squares are there in the picture?",
            target="3",
            response=rng.choice("123"),
            status="answered",
            scores={"exact_match": float(rng.random() < 0.5 + number / 200)},
        )


def _result(suite: str, answers: list[Answer]) -> SuiteResult:
    score = sum(answer.scores["exact_match"] for answer in answers) / len(answers)
    metric = MetricScore(
        metric="exact_match",
        score=score,
        ci_low=max(score - 0.05, 0.0),
        ci_high=min(score + 0.05, 1.0),
        n=len(answers),
        maximum=1.0,
        primary=True,
        statistic="mean",
    )
    return SuiteResult(
        suite=f"mini_{suite}",
        suite_title=suite.upper(),
        limit=None,
        n=len(answers),
        errors=0,
        empty=0,
        unparseable=0,
        metrics=[metric],
        answers=answers,
    )


def _cell(number: int, suite: str, result: str) -> Cell:
    bits = 16.0 if number == 0 else 4.0 - number / VARIANTS
    return Cell(
        model="mini",
        method="fp" if number == 0 else f"method {number}",
        low="none",
        high="none" if number == 0 else "gptq-4",
        k=0,
        order="entropy",
        alpha=0.5,
        calibration_seed=0,
        paper_bits=bits,
        stored_bits=bits,
        stored_bytes=round(100_000 * bits),
        suite=f"mini_{suite}",
        limit=None,
        variant=digest.of_value(["variant", number]),
        result=result,
        command="python -m harness",
        seconds=1.0,
        questions=ANSWERS,
        blocks=[Block(kept="gptq", paper_bits=bits, stored_bits=bits) for _ in range(BLOCKS)],
        events=[],
    )
