"""The harness from Python: what the command line does, and what a store holds as tables."""

import subprocess
import sys

import pyarrow
import pytest

import harness
from harness.errors import CellError, ConfigError
from harness.evaluation.lmms_model import LuqModel
from harness.store.store import Store
from harness.variants import variant as variants
from luq.types import QuantizationError
from tests.paths import ROOT

OPTIONS = ["calibration.tokens=256", "calibration.sequence=32", "batch_size=4"]


@pytest.fixture
def evaluate(narrow_model, tmp_path):
    def call(method="rtn4", **options):
        more = options.pop("overrides", [])
        return harness.evaluate(
            "mini",
            method,
            suites=options.pop("suites", ["mini_gqa"]),
            limit=4,
            store=tmp_path / "runs",
            overrides=[f"model.path={narrow_model}", *OPTIONS, *more],
            **options,
        )

    return call


def test_evaluate_gives_the_scores_that_read_finds_in_the_store(evaluate, tmp_path):
    scores = evaluate(suites=["mini_gqa", "mini_pope"])
    assert isinstance(scores, pyarrow.Table)
    assert scores.column("suite").to_pylist() == ["mini_gqa", "mini_pope", "mini_pope"]
    assert scores.sort_by("metric").equals(harness.read(tmp_path / "runs").sort_by("metric"))
    assert set(scores.column("method").to_pylist()) == {"rtn4"}


def test_what_the_store_has_is_not_evaluated_again(evaluate, monkeypatch):
    first = evaluate()
    monkeypatch.setattr(LuqModel, "_generate", lambda *_: pytest.fail("asked again"))
    assert evaluate().equals(first)


def test_every_table_of_a_store_can_be_read_and_becomes_a_data_frame(evaluate, tmp_path):
    evaluate("fp")
    evaluate("rtn3")
    runs = tmp_path / "runs"
    comparisons = harness.read(runs, "comparisons").to_pandas()
    assert list(comparisons.variant) == ["rtn3"]
    assert list(comparisons.reference) == ["fp"]
    answers = harness.read(runs, "answers").to_pandas()
    assert len(answers) == 8
    assert {"variant", "suite", "question_id", "prompt", "response"} <= set(answers.columns)
    blocks = harness.read(runs, "blocks").to_pandas()
    assert list(blocks[blocks.variant == "rtn3"].block) == [0, 1, 2, 3]
    assert set(blocks[blocks.variant == "rtn3"].stored_bits) == {3.1484375}


def test_reading_changes_nothing(evaluate, tmp_path):
    evaluate()
    before = sorted((p, p.stat().st_mtime_ns) for p in (tmp_path / "runs").rglob("*"))
    for table in ("scores", "comparisons", "answers", "blocks"):
        harness.read(tmp_path / "runs", table)
    assert sorted((p, p.stat().st_mtime_ns) for p in (tmp_path / "runs").rglob("*")) == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "gptq"}, "gptq"),
        ({"suites": "mini_gqa"}, "suites and overrides are lists"),
        ({"suites": []}, "suites is not empty"),
        ({"overrides": ["calibration.alpha=2"]}, "calibration.alpha is 2"),
        ({"method": "luq", "overrides": ["method.k=9"]}, "has 4 decoder blocks"),
    ],
)
def test_a_request_that_cannot_be_is_a_config_error(evaluate, options, said):
    with pytest.raises(ConfigError, match=said):
        evaluate(**options)


def test_a_variant_that_cannot_be_made_is_a_cell_error_with_its_reason(evaluate, monkeypatch):
    def broken(*_):
        raise QuantizationError("block 1 self_attn.q_proj: a reason")

    monkeypatch.setattr(variants, "_ranked_variant", broken)
    with pytest.raises(CellError, match=r"rtn4 on GQA: block 1 self_attn.q_proj: a reason"):
        evaluate()


def test_a_store_or_table_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="there is no store"):
        harness.read(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="choose one of scores, comparisons, answers, blocks"):
        harness.read(tmp_path, "rows")
    assert harness.read(Store(tmp_path / "runs").root).num_rows == 0


def test_it_works_in_a_process_that_never_saw_the_command_line(tmp_path, narrow_model):
    program = (
        "import harness, sys; scores = harness.evaluate('mini', 'rtn4', suites=['mini_gqa'],"
        " limit=4, store=sys.argv[1], overrides=[f'model.path={sys.argv[2]}']);"
        "print(scores.num_rows, 'harness.cli' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "runs"), str(narrow_model)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "1 False\n", done.stderr
