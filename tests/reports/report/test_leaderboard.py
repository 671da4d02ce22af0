"""The leaderboard as page, Markdown and table: complete, escaped, with what is missing."""

import csv
import json

import pytest

from reports.records.results import Failure
from reports.records.schema import to_json
from reports.report.tables import RESULT_COLUMNS
from reports.report.write import write_report
from tests.reports.builders import add_cell


def outputs(root):
    write_report(root)
    return [
        (root / name).read_text() for name in ("results.csv", "leaderboard.md", "report/index.html")
    ]


def test_an_empty_store_gives_a_report_that_says_so(tmp_path):
    table, text, page = outputs(tmp_path)
    assert table.strip() == ",".join(RESULT_COLUMNS)
    assert "holds no results yet" in text
    assert "holds no results yet" in page


def test_scores_stand_with_their_intervals_and_both_kinds_of_bits(tmp_path):
    add_cell(tmp_path)
    _, text, page = outputs(tmp_path)
    for shown in ("80.0", "4.00", "4.156", "2.60 MiB"):
        assert shown in text
        assert shown in page
    assert "70.0–90.0" in text
    assert "70.0–90.0" in page


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "=cmd()", "a|b\nc", '"><img src=x>'])
def test_r22_names_are_escaped_everywhere(tmp_path, name):
    add_cell(tmp_path, method=name, suite=name, command=name)
    table, text, page = outputs(tmp_path)
    assert "<script>alert" not in text + page
    assert page.count("<script") == 1  # its own
    assert "<img" not in text + page
    assert not any(cell.startswith("=") for row in csv.reader(table.splitlines()) for cell in row)
    heads = [
        line.count("|") - line.count("\\|")
        for line in text.split("## Scorecard")[0].splitlines()
        if line.startswith("|")
    ]
    assert len(set(heads)) == 1


def test_a_missing_suite_is_a_dash_and_not_a_zero(tmp_path):
    add_cell(tmp_path, key="c1", method="gptq4", suite="mini_pope")
    add_cell(tmp_path, key="c2", method="gptq4", suite="mini_gqa")
    add_cell(tmp_path, key="c3", method="gptq2", suite="mini_gqa")
    _, text, page = outputs(tmp_path)
    (line,) = [row for row in text.splitlines() if row.startswith("|") and "gptq2" in row]
    assert "—" in line
    assert 'class="missing"' in page


def test_failures_and_unreadable_entries_are_in_plain_sight(tmp_path):
    add_cell(tmp_path)
    failure = Failure(
        model="mini",
        method="billm",
        k=0,
        suite="mini_gqa",
        limit=None,
        error="block 3 gives NaN",
        command="python",
    )
    (tmp_path / "failures").mkdir()
    (tmp_path / "failures" / "x.json").write_text(to_json(failure))
    (tmp_path / "cells" / "bad").mkdir()
    (tmp_path / "cells" / "bad" / "cell.json").write_text(json.dumps({"schema_version": 9}))
    _, text, page = outputs(tmp_path)
    for shown in ("block 3 gives NaN", "cells/bad/cell.json"):
        assert shown in text
        assert shown in page


def test_variants_that_differ_in_calibration_alone_have_names_that_differ(tmp_path):
    add_cell(tmp_path, key="c1")
    assert [line.label for line in write_report(tmp_path)[0].lines] == ["gptq4"]
    add_cell(tmp_path, key="c2", alpha=0.0)
    add_cell(tmp_path, key="c3", calibration_seed=1)
    assert sorted(line.label for line in write_report(tmp_path)[0].lines) == [
        "gptq4, alpha 0, seed 0",
        "gptq4, alpha 0.5, seed 0",
        "gptq4, alpha 0.5, seed 1",
    ]


def test_variants_of_one_name_with_other_quantizers_are_lines_of_their_own(tmp_path):
    add_cell(tmp_path, key="a", method="luq", k=4, low="billm-code", score=0.9)
    add_cell(tmp_path, key="b", method="luq", k=4, low="sage", score=0.5)
    board, _ = write_report(tmp_path)
    assert {line.label: line.mean.value for line in board.lines} == {
        "luq k=4 of billm-code and gptq-4": pytest.approx(90),
        "luq k=4 of sage and gptq-4": pytest.approx(50),
    }
