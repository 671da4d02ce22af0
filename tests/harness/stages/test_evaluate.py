"""R37: whatever a cell raises is that cell's failure; the others are evaluated and reported."""

import csv
import json

import pytest

from harness.evaluation import registry
from harness.evaluation.pictures import evaluation, mini
from harness.launchers.job import run_one
from tests import packages

SMALL = ["limit=4", "batch_size=4", "calibration.tokens=600", "calibration.sequence=32"]
QUANTIZER = """
from dataclasses import dataclass
from typing import ClassVar

from luq import RTN

@dataclass(frozen=True)
class Odd:
    method: ClassVar[str] = "odd"
    needs_stats: ClassVar[bool] = False
    formats: ClassVar[tuple] = RTN(4).formats

    def __call__(self, weight, stats):
        raise RuntimeError("bug of the package")
"""


def fails(error):
    def function(*_arguments, **_options):
        raise error

    return function


def suites_done(store):
    with (store / "results.csv").open() as file:
        return sorted({row["suite"] for row in csv.DictReader(file)})


def failures(store):
    return [json.loads(path.read_text()) for path in (store / "failures").iterdir()]


@pytest.fixture
def small(run, narrow_model):
    """Run the command on a narrow model."""
    return lambda *arguments: run(*SMALL, f"model.path={narrow_model}", *arguments)


TWO = "suite.tasks=[mini_pope,mini_gqa]"


@pytest.mark.parametrize(
    "error", [KeyError("label"), AssertionError(), RecursionError("deep"), SystemExit(3)], ids=repr
)
def test_r37_what_a_scorer_raises_fails_its_cell_alone(small, tmp_path, monkeypatch, error):
    real = evaluation.judge

    def judge(sample, metrics, cluster):
        if any("pope" in name for name in metrics):
            raise error
        return real(sample, metrics, cluster)

    monkeypatch.setattr(evaluation, "judge", judge)
    code, text = small("method=fp", TWO)
    assert code == 1
    assert f"fp on POPE: FAILED: POPE, row 0 of its data: {type(error).__name__}" in text
    assert "Traceback" not in text
    assert suites_done(tmp_path / "runs") == ["mini_gqa"]
    assert [one["suite"] for one in failures(tmp_path / "runs")] == ["mini_pope"]
    assert type(error).__name__ in (tmp_path / "runs" / "leaderboard.md").read_text()


def test_r37_a_suite_that_cannot_be_opened_fails_alone_and_is_forgotten_when_it_can(
    small, tmp_path, monkeypatch
):
    real = mini.open_suites

    def open_suites(settings, *rest):
        if "mini_pope" in settings.tasks:
            raise TypeError("misspelt function")
        return real(settings, *rest)

    monkeypatch.setitem(registry.KINDS, "mini", open_suites)
    code, text = small("method=fp", TWO)
    assert code == 1
    assert "fp on mini_pope: FAILED: mini_pope cannot be opened: TypeError: misspelt" in text
    assert suites_done(tmp_path / "runs") == ["mini_gqa"]
    monkeypatch.setitem(registry.KINDS, "mini", real)
    assert small("method=fp", TWO)[0] == 0
    assert failures(tmp_path / "runs") == []


def test_r37_a_quantizer_of_another_package_fails_its_variant_and_the_sweep_goes_on(
    small, tmp_path, monkeypatch
):
    packages.install_entry_points(
        "oddpack", {"luq.quantizers": {"odd": "oddpack:Odd"}}, tmp_path, monkeypatch
    )
    (tmp_path / "oddpack.py").write_text(QUANTIZER)
    one = ["method=custom", "method.name=odd", "method.high={method: odd}", "suite=mini_gqa"]
    code, text = small(*one)
    assert code == 1
    assert "bug of the package" in text
    assert "Traceback" not in text
    code, again = small(*one)
    assert code == 1
    assert "FAILED before" in again
    assert "retry_failed=true" in again
    assert "FAILED before" not in small(*one, "retry_failed=true")[1]


def test_r37_a_model_that_raises_while_it_is_loaded_fails_the_cells_of_its_job(
    small, tmp_path, monkeypatch
):
    monkeypatch.setattr("harness.stages.evaluate.open_model", fails(TypeError("odd tokenizer")))
    code, text = small("method=fp", TWO)
    assert code == 1
    assert "TypeError: odd tokenizer" in text
    assert sorted(one["suite"] for one in failures(tmp_path / "runs")) == ["mini_gqa", "mini_pope"]


def test_r37_a_launchers_process_returns_the_failure_instead_of_raising_it(
    tmp_path, narrow_model, monkeypatch
):
    monkeypatch.setattr("harness.stages.evaluate.open_model", fails(TypeError("odd tokenizer")))
    given = [*SMALL, f"model.path={narrow_model}", "method=fp", "suite=mini_gqa"]
    result = run_one(3, [*given, f"store={tmp_path / 'runs'}"])
    assert (result.number, result.code) == (3, 1)
    assert "odd tokenizer" in result.reason


@pytest.mark.parametrize("name", ["{time} {y}", "[x] %s $HOME", "<b> ü,=;#"])
def test_r21_a_store_may_have_any_name(run, tmp_path, narrow_model, name):
    store = tmp_path / name
    given = [*SMALL, f"model.path={narrow_model}", "method=fp", "suite=mini_gqa"]
    code, text = run(*given, f"store='{store}'")
    assert code == 0, text
    assert (store / "results.csv").exists()
    assert (store / "logs" / "harness.log").exists()
    assert list(tmp_path.iterdir()) == [store]
