"""A store that version 0.1.0 wrote: its answers stay, and every table says the same."""

import csv
import json
import re
import shutil
import tarfile

import pytest

from harness.evaluation.lmms_model import LuqModel
from tests.paths import DATA

ARCHIVE = DATA / "store_0_1_0.tar.xz"
# Tables, and the columns that tell chance: few questions have had wider intervals since then.
TABLES = {
    "results.csv": {"ci_low", "ci_high"},
    "comparisons.csv": {"low", "high", "p", "p_holm", "test"},
    "leaderboard.md": set(),
}


@pytest.fixture
def old(tmp_path):
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path / "runs", filter="data")
    return tmp_path / "runs"


@pytest.fixture
def unasked(run, old, monkeypatch):
    """Run a command that asks no question: today's code packs the weights of 0.1.0 again, and
    their answers are in the store.
    """
    asked, ask = [], LuqModel._generate
    monkeypatch.setattr(
        LuqModel,
        "_generate",
        lambda self, batch, ahead=None: (asked.extend(batch), ask(self, batch, ahead))[1],
    )
    known = {cell["variant"] for cell in cells_of(old)}

    def call(*arguments):
        code, said = run(*arguments, "limit=4", "model.device=cpu")
        if any(cell["variant"] not in known for cell in cells_of(old)):
            pytest.skip("this CPU packs other weights than the one that made the store")
        assert not asked
        return code, said

    return call


def cells_of(root):
    return [json.loads(path.read_text()) for path in (root / "cells").glob("*/cell.json")]


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


def test_the_commands_that_made_it_ask_nothing_and_show_the_same_tables(unasked, old):
    before = {name: shown(old / name) for name in TABLES}
    for name in TABLES:
        (old / name).unlink()
    code, said = unasked("--multirun", "method=fp,gptq2")
    assert code == 0, said
    assert "18 cells, 9 already done" in said
    assert said.count("the code of quantizers has changed") == 1
    assert len(list((old / "cells").iterdir())) == 72
    assert {name: shown(old / name) for name in TABLES} == before
    assert "18 cells, all already done" in unasked("--multirun", "method=fp,gptq2")[1]


def test_answers_are_found_again_where_results_are_gone(unasked, old):
    results = sorted((old / "results").iterdir())
    kept = set(map(said_and_scored, results))
    for kind in ("cells", "results"):
        shutil.rmtree(old / kind)
    code, said = unasked("method=gptq2")
    assert code == 0, said
    made = set(map(said_and_scored, (old / "results").iterdir()))
    assert len(made) == 9
    assert made <= kept


def test_answers_that_were_read_by_earlier_rules_are_scored_again_without_asking(unasked, old):
    def rules_of_pope(*methods):
        cells = [one for one in cells_of(old) if one["method"] in methods]
        results = [old / "results" / c["result"] for c in cells if c["suite"] == "mini_pope"]
        found = [json.loads((one / "result.json").read_text())["metrics"] for one in results]
        return [metrics[0].get("rules", 0) for metrics in found]

    assert rules_of_pope("fp", "gptq2") == [0, 0]
    code, said = unasked("--multirun", "method=fp,gptq2", "suite=mini_pope")
    assert code == 0, said
    assert "fp on POPE: already done" in said
    assert rules_of_pope("fp", "gptq2") == [1, 1]


def test_r37_a_scorer_that_fails_on_old_answers_fails_its_cell_and_no_other(
    unasked, old, monkeypatch
):
    def fail(*_):
        raise LookupError("no such row")

    monkeypatch.setattr("harness.evaluation.pictures.suite.scored_again", fail)
    code, said = unasked("method=fp")
    assert code == 1
    assert "fp on POPE: FAILED: LookupError: no such row" in said
    assert "fp on GQA: already done" in said
