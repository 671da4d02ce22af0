"""The documented recipes: suites of another package, copied out of the page and evaluated."""

import json
import runpy

import pytest

from tests import packages
from tests.paths import ROOT

PAGE = ROOT / "docs" / "extending" / "suite.md"
FAST = ["calibration.tokens=512", "calibration.sequence=32", "batch_size=4"]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The package of the page, and its data, in the working directory."""
    packages.install(packages.files_of(PAGE), tmp_path / "package", monkeypatch)
    monkeypatch.chdir(tmp_path / "package")
    runpy.run_path("make_data.py")


def command(name):
    (found,) = [one for one in packages.commands_of(PAGE) if f"suite.name={name}" in one]
    return found


def cells(tmp_path):
    return [
        json.loads(path.read_text()) for path in (tmp_path / "runs" / "cells").glob("*/cell.json")
    ]


@pytest.mark.parametrize(
    ("name", "task", "questions"), [("colors",) * 2 + (4,), ("choice", "shapes", 3)]
)
def test_the_documented_suite_is_evaluated_and_reported_and_the_second_time_done(
    run, tmp_path, narrow_model, package, name, task, questions
):
    arguments = [*command(name), f"model.path={narrow_model}", *FAST]
    code, text = run(*arguments)
    assert code == 0, text
    (cell,) = cells(tmp_path)
    assert (cell["suite"], cell["questions"]) == (task, questions)
    assert f",{task}," in (tmp_path / "runs" / "results.csv").read_text()
    code, text = run(*arguments)
    assert code == 0, text
    assert "already done" in text


def test_two_variants_on_the_documented_kind_are_compared_question_by_question(
    run, tmp_path, narrow_model, package
):
    arguments = [*command("choice"), f"model.path={narrow_model}", *FAST]
    for method in ("fp", "rtn2"):
        code, text = run(*arguments, f"method={method}")
        assert code == 0, text
    assert "shapes" in (tmp_path / "runs" / "comparisons.csv").read_text()


def test_the_page_is_as_short_as_it_says():
    files = packages.files_of(PAGE)
    lines = [line for line in files["choice_suite/__init__.py"].splitlines() if line.strip()]
    assert len(lines) < 100
    assert len(files["color_suite/__init__.py"].splitlines()) < 20
