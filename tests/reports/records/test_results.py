"""Reading a store: what is newer, damaged or doubtful is told, never taken and never dropped in
silence.
"""

import json

import pyarrow.parquet
import pytest

from reports.records.results import CSV_COLUMNS, SCHEMA_VERSION, read_store
from reports.report.write import write_report
from tests.reports.report.test_leaderboard import add_cell

GPTQ_4, BILLM = {"method": "gptq", "bits": 4}, {"method": "billm", "variant": "code"}


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
    assert "kept no blocks" in (tmp_path / "report" / "index.html").read_text()


@pytest.mark.parametrize("value", ["NaN", "Infinity"])
def test_an_answer_whose_score_is_no_number_is_refused_by_name(tmp_path, value):
    add_cell(tmp_path)
    path = tmp_path / "results" / "rc1" / "result.json"
    path.write_text(path.read_text().replace('"f1": 1.0', f'"f1": {value}'))
    rows, _, (problem,) = read_store(tmp_path)
    assert rows == []
    assert "answers.0.scores.f1" in problem.reason


def test_two_results_for_one_cell_are_told_unless_they_agree(tmp_path):
    add_cell(tmp_path, key="c1", score=0.8)
    add_cell(tmp_path, key="c2", score=0.8)
    assert read_store(tmp_path)[2] == []
    add_cell(tmp_path, key="c3", score=0.7)
    board, _ = write_report(tmp_path)
    (problem,) = board.problems
    assert "a second result for gptq4 on mini_pope" in problem.reason
    assert board.lines[0].mean.value == pytest.approx(80)
    assert problem.reason.replace("'", "&#39;") in (tmp_path / "report" / "index.html").read_text()


@pytest.mark.parametrize("name", ["../../elsewhere", "/etc", "a/b", "x" * 300, "a\x00b"])
def test_r21_a_cell_points_to_nothing_outside_the_results(tmp_path, name):
    add_cell(tmp_path)
    change(tmp_path, "cells/c1/cell.json", result=name)
    rows, _, (problem,) = read_store(tmp_path)
    assert rows == []
    assert "result" in problem.reason


def test_the_parquet_file_has_the_columns_and_rows_of_the_table(tmp_path):
    write_report(tmp_path)
    assert pyarrow.parquet.read_table(tmp_path / "results.parquet").column_names == list(
        CSV_COLUMNS
    )
    add_cell(tmp_path)
    write_report(tmp_path)
    (row,) = pyarrow.parquet.read_table(tmp_path / "results.parquet").to_pylist()
    assert (row["method"], row["score"], row["stored_bytes"], row["budget_bits"]) == (
        "gptq4",
        0.8,
        2_723_840,
        None,
    )


def cell_of(root, **values):
    add_cell(root)
    change(root, "cells/c1/cell.json", **values)
    ((row,), _, problems) = read_store(root)
    assert not problems
    return row.cell


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        ({"low": "none", "high": "none"}, None, None),
        ({"low": "none", "high": "gptq-4"}, None, GPTQ_4),
        ({"low": "billm-code", "high": "gptq-4"}, BILLM, GPTQ_4),
        # recorded as data: names do not matter, nor options that nobody asks for
        (
            {"low": "none", "high": "my own name", "high_quantizer": {**GPTQ_4, "group": 64}},
            None,
            GPTQ_4,
        ),
        (
            {"low": "b", "high": "g", "low_quantizer": BILLM, "high_quantizer": GPTQ_4},
            BILLM,
            GPTQ_4,
        ),
    ],
)
def test_a_variant_is_known_by_its_quantizers_and_old_ones_by_their_names(
    tmp_path, values, low, high
):
    cell = cell_of(tmp_path, **values)
    assert cell.uses(low, high)
    for other in (None, {"method": "rtn", "bits": 4}, {"method": "gptq", "bits": 3}):
        if other != high:
            assert not cell.uses(low, other)
        if other != low:
            assert not cell.uses(other, high)


def test_recorded_data_counts_more_than_a_name(tmp_path):
    cell = cell_of(tmp_path, high="gptq-4", high_quantizer={"method": "gptq", "bits": 3})
    assert not cell.uses(None, GPTQ_4)


@pytest.mark.parametrize("values", [{"budget_bits": 3.0}, {"candidates": [GPTQ_4]}])
def test_a_variant_that_chooses_among_candidates_is_none_of_them(tmp_path, values):
    assert not cell_of(tmp_path, high="gptq-4", **values).uses(None, GPTQ_4)
