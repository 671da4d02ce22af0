"""Several processes on one job: the results of one, half of the questions each."""

import os
import subprocess
import sys

import pytest

from harness import distributed

SCRIPT = """
import os, sys
from pathlib import Path
from harness.cli.main import main
from harness.evaluation.lmms_model import LuqModel

rank, log, real = os.environ["RANK"], Path(sys.argv.pop(1)), LuqModel._generate

def generate(self, batch, ahead=None):
    if rank == "1" and "mini_pope" in batch[0].label:
        raise RuntimeError("this process's decoder broke")
    with (log / f"asked-{rank}").open("a") as file:
        file.writelines(f"{q.label}\\n" for q in batch)
    return real(self, batch, ahead)

LuqModel._generate = generate
sys.exit(main())
"""


def test_two_processes_give_the_results_of_one_ask_each_question_once_and_fail_together(
    run, tmp_path, narrow_model
):
    (tmp_path / "script.py").write_text(SCRIPT)
    options = [
        f"model.path={narrow_model}",
        "method=gptq4",
        "calibration.tokens=512",
        "limit=30",
        "batch_size=4",
    ]
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        str(tmp_path / "script.py"),
    ]
    both = [*options, f"store={tmp_path / 'two'}", "suite.tasks=[mini_gqa,mini_pope]"]
    done = subprocess.run(
        [*command, str(tmp_path), *both], capture_output=True, text=True, timeout=200
    )
    assert done.returncode != 0
    assert done.stdout.count("gptq4 on GQA: done") == 1
    assert "gptq4 on POPE: FAILED" in done.stdout
    assert "this process's decoder broke" in done.stdout
    assert run(*options, "suite=mini_gqa", f"store={tmp_path / 'one'}")[0] == 0
    assert (tmp_path / "one" / "results.csv").read_text() == (
        tmp_path / "two" / "results.csv"
    ).read_text()
    (alone,), (shared,) = (
        [path.read_text() for path in (tmp_path / s / "results").glob("*/result.json")]
        for s in ("one", "two")
    )
    assert shared == alone
    asked = [
        [line for line in (tmp_path / f"asked-{rank}").read_text().splitlines() if "gqa" in line]
        for rank in range(2)
    ]
    assert len(asked[0]) + len(asked[1]) == 30
    assert min(map(len, asked)) >= 12
    assert not set(asked[0]) & set(asked[1])


def test_libraries_see_no_other_process_while_these_are_hidden(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.delenv("RANK", raising=False)
    before = distributed.rank(), distributed.world_size()

    def fail():
        with distributed.hidden():
            assert "LOCAL_RANK" not in os.environ
            assert (distributed.rank(), distributed.world_size()) == before
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert os.environ["LOCAL_RANK"] == "1"
    assert "RANK" not in os.environ


def test_one_process_gathers_its_own_value_and_waits_for_nobody():
    assert distributed.gather("mine") == ["mine"]
    with distributed.rank_zero_first():
        pass
