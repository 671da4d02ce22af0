"""The code of a quantizer changes between two commands on one store."""

import csv
import json

import pytest

from harness.evaluation.lmms_model import LuqModel
from luq import RTN
from luq.pipelines import bank

SUITES = "suite.tasks=[mini_gqa,mini_pope]"


@pytest.fixture
def command(run, tmp_path, narrow_model, monkeypatch):
    """Evaluate rtn4: (exit code, what was said, blocks quantized, questions asked)."""
    ask, quantize = LuqModel._generate, bank.quantize_block
    asked, quantized = [], []
    monkeypatch.setattr(
        LuqModel,
        "_generate",
        lambda self, batch, ahead=None: (asked.extend(batch), ask(self, batch, ahead))[1],
    )
    monkeypatch.setattr(
        bank, "quantize_block", lambda *given: (quantized.append(1), quantize(*given))[1]
    )

    def call(*more):
        asked.clear(), quantized.clear()
        code, said = run(
            f"model.path={narrow_model}", "method=rtn4", SUITES, "limit=4", "batch_size=12", *more
        )
        return code, said, len(quantized), len(asked)

    return call


def cells(root):
    found = [json.loads(path.read_text()) for path in (root / "cells").glob("*/cell.json")]
    return {cell["suite"]: cell for cell in found}


def test_r32_equal_weights_of_changed_code_keep_their_answers_and_scores(
    command, tmp_path, change_luq
):
    root = tmp_path / "runs"
    code, _, blocks, questions = command()
    assert (code, blocks) == (0, 4)
    assert questions >= 8
    before = cells(root)
    assert command()[2:] == (0, 0)
    change_luq("luq.rounding.grids")
    assert "0 done, 0 running, 0 failed, 0 missing, 2 outdated" in command("stage=status")[1]
    code, said, blocks, questions = command()
    assert (code, blocks, questions) == (0, 4, 0)
    assert said.count("the code of quantizers has changed") == 1
    assert "2 cells, 0 already done" in said
    after = cells(root)
    assert {name: cell["result"] for name, cell in after.items()} == {
        name: cell["result"] for name, cell in before.items()
    }
    assert len(list((root / "cells").iterdir())) == 2
    code, said, blocks, questions = command()
    assert (code, blocks, questions) == (0, 0, 0)
    assert "code of quantizers" not in said


def test_r32_other_weights_of_changed_code_replace_the_cells_of_the_earlier(
    command, tmp_path, change_luq, monkeypatch
):
    root = tmp_path / "runs"
    command()
    before = cells(root)
    change_luq("luq.quantizers.rtn")
    monkeypatch.setattr(
        RTN, "__call__", lambda self, *given, call=RTN.__call__: call(RTN(2), *given)
    )
    code, said, blocks, questions = command()
    assert (code, blocks) == (0, 4)
    assert questions >= 8
    assert all(cell["variant"] != before[name]["variant"] for name, cell in cells(root).items())
    rows = list(csv.DictReader((root / "results.csv").read_text().splitlines()))
    shown = [(row["suite"], row["metric"]) for row in rows]
    assert {suite for suite, _ in shown} == set(before)
    assert len(shown) == len(set(shown))
    assert "a second result" not in said


def test_r32_a_quantizer_that_a_change_does_not_concern_is_done(command, change_luq):
    command()
    change_luq("luq.quantizers.gptq")
    code, said, blocks, questions = command()
    assert (code, blocks, questions) == (0, 0, 0)
    assert "2 cells, all already done" in said
