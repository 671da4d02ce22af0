"""Reading a store: what is newer, damaged or doubtful is reported and not taken."""

import json

import pytest

from reports.records.schema import SCHEMA_VERSION
from reports.report.read import read_store
from reports.report.write import write_report
from tests.reports.builders import add_cell


def change(root, path, **values):
    file = root / path
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


@pytest.mark.parametrize("path", ["cells/c1/cell.json", "results/rc1/result.json"])
def test_a_newer_schema_is_refused_with_what_to_do(tmp_path, path):
    add_cell(tmp_path)
    change(tmp_path, path, schema_version=SCHEMA_VERSION + 1, something_new=1)
    rows, _, (problem,) = read_store(tmp_path)
    assert rows == []
    assert problem.path.endswith(path)
    assert (
        problem.reason
        == f"written by a newer harness (schema {SCHEMA_VERSION + 1}, this one reads up to"
        f" {SCHEMA_VERSION}); update luq-harness"
    )


def test_a_cell_of_the_first_schema_is_still_read(tmp_path):
    add_cell(tmp_path)
    change(
        tmp_path,
        "cells/c1/cell.json",
        schema_version=1,
        plan=["grid 4.156"],
        events=["block 0 x: damping 0.1"],
    )
    (row,), _, problems = read_store(tmp_path)
    assert not problems
    assert row.cell.events_of(0) == ["x: damping 0.1"]
    write_report(tmp_path)
    assert "recorded no blocks" in (tmp_path / "report" / "index.html").read_text()


@pytest.mark.parametrize("value", ["NaN", "Infinity"])
def test_an_answer_whose_score_is_no_number_is_refused_by_name(tmp_path, value):
    add_cell(tmp_path)
    path = tmp_path / "results" / "rc1" / "result.json"
    path.write_text(path.read_text().replace('"f1": 1.0', f'"f1": {value}'))
    rows, _, (problem,) = read_store(tmp_path)
    assert rows == []
    assert "answers.0.scores.f1" in problem.reason


def test_two_results_for_one_cell_are_reported_unless_they_agree(tmp_path):
    add_cell(tmp_path, key="c1", score=0.8)
    add_cell(tmp_path, key="c2", score=0.8)
    assert read_store(tmp_path)[2] == []
    add_cell(tmp_path, key="c3", score=0.7)
    board, _ = write_report(tmp_path)
    (problem,) = board.problems
    assert "a second result for gptq4 on mini_pope" in problem.reason
    assert board.lines[0].mean.value == pytest.approx(80)
    assert problem.reason.replace("'", "&#39;") in (tmp_path / "report" / "index.html").read_text()


def test_r30_models_of_one_name_and_other_files_are_never_compared(tmp_path):
    add_cell(tmp_path, key="old", method="fp", high="none", model_digest="aaaaaaaa")
    add_cell(tmp_path, key="c1", method="gptq4", model_digest="aaaaaaaa")
    board, _ = write_report(tmp_path)
    assert {(one.model, one.vs_full is None) for one in board.lines if one.label == "gptq4"} == {
        ("mini", False)
    }
    add_cell(tmp_path, key="c2", method="gptq3", model_digest="bbbbbbbb")
    add_cell(tmp_path, key="c3", method="gptq2", model_digest="")  # of an earlier version
    board, _ = write_report(tmp_path)
    compared = {(one.model, one.label): one.vs_full is not None for one in board.lines}
    assert compared == {
        ("mini aaaaaa", "fp"): False,
        ("mini aaaaaa", "gptq4"): True,
        ("mini bbbbbb", "gptq3"): False,
        ("mini", "gptq2"): False,
    }


@pytest.mark.parametrize("name", ["../../elsewhere", "/etc", "a/b", "x" * 300, "a\x00b"])
def test_r21_a_cell_points_to_nothing_outside_the_results(tmp_path, name):
    add_cell(tmp_path)
    change(tmp_path, "cells/c1/cell.json", result=name)
    rows, _, (problem,) = read_store(tmp_path)
    assert rows == []
    assert "result" in problem.reason


def test_a_result_with_nan_is_refused_and_named(tmp_path):
    add_cell(tmp_path)
    path = tmp_path / "results" / "rc1" / "result.json"
    path.write_text(path.read_text().replace('"score": 0.8', '"score": NaN'))
    board, _ = write_report(tmp_path)
    assert not board.lines
    assert "rc1" in board.problems[0].path


def test_of_two_results_for_one_cell_the_one_with_more_questions_is_shown(tmp_path):
    add_cell(tmp_path, key="c1", score=0.8, n=10)
    add_cell(tmp_path, key="c2", score=0.75, n=200)
    board, _ = write_report(tmp_path)
    (line,) = board.lines
    assert line.questions == 200


def test_with_no_block_low_the_order_makes_no_second_row(tmp_path):
    for number, order in enumerate(("entropy", "depth")):
        add_cell(
            tmp_path,
            key=f"c{number}",
            method="luq",
            low="billm-code",
            k=0,
            order=order,
            variant="same",
        )
    board, _ = write_report(tmp_path)
    (line,) = board.lines
    assert line.questions == 10
    assert not board.problems
