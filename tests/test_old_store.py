"""A store that version 0.1.0 wrote: every command on it finds all done, and says the same."""

import csv
import json
import re
import shutil
import tarfile

import pytest

from harness.evaluation.lmms_model import LuqModel
from luq.pipelines import bank
from tests.paths import DATA

ARCHIVE = DATA / "store_0_1_0.tar.xz"
# Tables, and the columns that tell chance: few questions have had wider intervals since then.
TABLES = {
    "results.csv": {"ci_low", "ci_high"},
    "comparisons.csv": {"low", "high", "p", "p_holm", "test"},
    "leaderboard.md": set(),
}
SWEEP = ("+sweep=first_look", "limit=4", "model.device=cpu")


@pytest.fixture
def old(tmp_path):
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path / "runs", filter="data")
    return tmp_path / "runs"


@pytest.fixture
def no_work(monkeypatch):
    """Nothing may be asked, quantized or calibrated."""
    monkeypatch.setattr(LuqModel, "_generate", lambda *_: pytest.fail("a question was asked"))
    monkeypatch.setattr(bank, "quantize_block", lambda *_: pytest.fail("a block was quantized"))
    monkeypatch.setattr(
        "harness.variants.calibration_run.capture_blocks",
        lambda *_, **__: pytest.fail("calibration ran"),
    )


def shown(path):
    """A table as it is but for what tells chance; of the Markdown, whose words may improve, every
    number in its order.
    """
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return re.findall(r"[-+−×]?\d[\d.,]*", re.sub(r"\[[^\]]*\]", "", text))
    return [
        {key: value for key, value in row.items() if key not in TABLES[path.name]}
        for row in csv.DictReader(text.splitlines())
    ]


def said_and_scored(entry):
    """A result as it is, but for its intervals and the version of the rules that read answers."""
    result = json.loads((entry / "result.json").read_text())
    for metric in result["metrics"]:
        for key in ("rules", "ci_low", "ci_high"):
            metric.pop(key, None)
    return json.dumps(result)


def test_the_sweep_that_made_it_asks_nothing_and_shows_the_same_tables(run, old, no_work):
    before = {name: shown(old / name) for name in TABLES}
    for name in TABLES:
        (old / name).unlink()
    code, said = run(*SWEEP)
    assert code == 0, said
    assert "72 cells, all already done" in said
    assert {name: shown(old / name) for name in TABLES} == before


def test_answers_and_quantized_blocks_are_found_again_where_results_are_gone(run, old, no_work):
    cells, results = len(list((old / "cells").iterdir())), sorted((old / "results").iterdir())
    kept = set(map(said_and_scored, results))
    for kind in ("cells", "results"):
        shutil.rmtree(old / kind)
    code, said = run("method=gptq2", "limit=4", "model.device=cpu")
    assert code == 0, said
    assert cells == 72
    made = set(map(said_and_scored, (old / "results").iterdir()))
    assert len(made) == 9
    assert made <= kept


def test_answers_that_were_read_by_earlier_rules_are_scored_again_without_asking(run, old, no_work):
    def rules_of_pope():
        cells = [json.loads(path.read_text()) for path in (old / "cells").glob("*/cell.json")]
        results = [old / "results" / c["result"] for c in cells if c["suite"] == "mini_pope"]
        found = [json.loads((one / "result.json").read_text())["metrics"] for one in results]
        return {metrics[0].get("rules", 0) for metrics in found}

    assert rules_of_pope() == {0}
    code, said = run(*SWEEP, "suite=mini_pope")
    assert code == 0, said
    assert "8 cells, all already done" in said
    assert rules_of_pope() == {1}


def test_r37_a_scorer_that_fails_on_old_answers_fails_its_cell_and_no_other(
    run, old, no_work, monkeypatch
):
    def fail(*_):
        raise LookupError("no such row")

    monkeypatch.setattr("harness.evaluation.pictures.suite.scored_again", fail)
    code, said = run("method=gptq2", "limit=4", "model.device=cpu")
    assert code == 1
    assert "gptq2 on POPE: FAILED: LookupError: no such row" in said
    assert "gptq2 on GQA: already done" in said
