"""Commands side by side on one store: each begins between any two steps of another."""

import io
import os
import random
import shutil
import time

import pytest

from harness.progress import SILENT
from harness.stages.base import read_job
from harness.stages.registry import find_stage
from harness.stages.report import make_report
from harness.stages.verify import inspect
from harness.store.store import Store
from tests.harness.store.kills import STEPS

COMMANDS = {
    "evaluate": ["method=rtn2"],
    "evaluate another": ["method=rtn3"],
    "report": ["stage=report"],
    "verify": ["stage=verify"],
    "gc": ["stage=gc"],
    "gc of everything": ["stage=gc", "gc.everything=true"],
    "status": ["stage=status"],
}


LOOKS = ("listdir", "scandir", "stat", "lstat")
SAMPLE = 24  # steps of each pair in the slow test


class Steps:
    """Counts the steps that look at, rename or remove something, and breaks in before one."""

    def __init__(self, monkeypatch, at=None, then=None):
        self.seen, self.at, self.then = 0, at, then
        for place, name in [*((os, name) for name in (*STEPS, *LOOKS)), (io, "open")]:
            monkeypatch.setattr(place, name, self.counted(getattr(place, name)))

    def counted(self, call):
        def step(*args, **options):
            number, self.seen = self.seen, self.seen + 1
            if number == self.at:
                self.at = None
                self.then()
            return call(*args, **options)

        return step


@pytest.fixture(scope="module")
def filled(tmp_path_factory, narrow_model):
    """A store with two variants, and an entry of each kind that may go; all a day old."""
    root = tmp_path_factory.mktemp("filled") / "runs"
    for method in ("fp", "rtn4"):
        assert not perform(root, narrow_model, f"method={method}").failed
    store = Store(root)
    for key in ("garbage", "damaged"):
        store.cached("scores", key, lambda: [1])
        store.cached("stats", key, lambda: [1])
    (store.path("scores", "damaged") / "value.json").write_text("[2]")
    (root / "partial" / "left-over").mkdir(parents=True)
    day_ago = time.time() - 86400
    for path in root.rglob("*"):
        os.utime(path, (day_ago, day_ago))
    return root


def perform(root, model, *arguments):
    job = read_job(
        [f"store={root}", f"model.path={model}", "suite=mini_gqa", "limit=4", *arguments]
    )
    outcome = find_stage(job.config.stage).run([job], SILENT)
    if find_stage(job.config.stage).report:
        make_report(job.config, "")
    return outcome


@pytest.mark.parametrize("second", COMMANDS)
@pytest.mark.parametrize("first", [name for name in COMMANDS if name != "status"])
@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_r35_a_command_may_begin_at_any_step_of_another(
    filled, tmp_path, narrow_model, first, second, every
):
    if first == second and first.startswith("evaluate"):
        pytest.skip("the second one waits until the first is done")
    root = tmp_path / "runs"

    def run(name):
        outcome = perform(root, narrow_model, *COMMANDS[name])
        assert not outcome.failed or name == "verify", outcome.reasons

    def both(at):
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(filled, root)
        with pytest.MonkeyPatch.context() as monkeypatch:
            steps = Steps(monkeypatch, at, lambda: run(second))
            run(first)
        return steps

    both(None)  # what a process looks at once, it has looked at
    total = both(None).seen
    assert total >= 10
    randomly = random.Random(f"{first}, {second}")
    chosen = randomly.sample(range(total), min(SAMPLE, total)) if every else [total // 2]
    for number in chosen:
        assert both(number).at is None, number
        run("verify")  # what was planted
        assert not any(kind.damaged for kind in inspect(root).values())
        variants = {"fp", "rtn4"}
        variants |= {"rtn2"} if "evaluate" in (first, second) else set()
        variants |= {"rtn3"} if "evaluate another" in (first, second) else set()
        run("report")
        text = (root / "results.csv").read_text()
        assert {line.split(",")[1] for line in text.splitlines()[1:]} == variants
