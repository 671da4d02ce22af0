import csv
import json

import pytest

from reports.records.results import (
    CSV_COLUMNS,
    Answer,
    Cell,
    Failure,
    MetricScore,
    SuiteResult,
    to_json,
)
from reports.report.write import write_report


def add_cell(root, *, key="c1", method="gptq4", suite="mini_pope", score=0.8, n=10, k=0, **changes):
    """One cell and its result in the layout of a store."""
    answer = Answer(
        question_id="0",
        cluster="0",
        prompt="q",
        target="yes",
        response="yes",
        status="answered",
        scores={"f1": 1.0},
    )
    metric = MetricScore(
        metric="f1", score=score, ci_low=0.7, ci_high=0.9, n=n, maximum=1.0, primary=True
    )
    result = SuiteResult(
        suite=suite,
        suite_title=suite,
        limit=None,
        n=n,
        errors=0,
        empty=1,
        unparseable=2,
        metrics=[metric],
        answers=[answer],
    )
    cell = Cell(
        model="mini",
        method=method,
        low="none",
        high="gptq-4",
        k=k,
        order="entropy",
        alpha=0.5,
        calibration_seed=0,
        paper_bits=4,
        stored_bits=4.156,
        stored_bytes=2_723_840,
        suite=suite,
        limit=None,
        variant="v",
        result=f"r{key}",
        command="python -m harness",
        seconds=1.0,
        events=[],
    ).model_copy(update=changes)
    for kind, name, entry in (("cells", key, cell), ("results", f"r{key}", result)):
        (root / kind / name).mkdir(parents=True)
        (root / kind / name / f"{kind[:-1]}.json").write_text(to_json(entry))


def outputs(root):
    write_report(root)
    return [
        (root / name).read_text() for name in ("results.csv", "leaderboard.md", "report/index.html")
    ]


def test_an_empty_store_gives_a_report_that_says_so(tmp_path):
    table, text, page = outputs(tmp_path)
    assert table.strip() == ",".join(CSV_COLUMNS)
    assert "holds no results yet" in text
    assert "holds no results yet" in page


def test_every_metric_is_a_row_with_the_promised_columns(tmp_path):
    add_cell(tmp_path)
    write_report(tmp_path)
    (row,) = csv.DictReader((tmp_path / "results.csv").open())
    assert tuple(row) == CSV_COLUMNS
    assert (row["score"], row["ci_low"], row["ci_high"], row["n"]) == ("0.8", "0.7", "0.9", "10")
    assert (row["errors"], row["empty"], row["unparseable"]) == ("0", "1", "2")
    assert row["stored_bytes"] == "2723840"


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


def test_a_missing_suite_is_a_hole_and_not_a_zero(tmp_path):
    add_cell(tmp_path, key="c1", method="gptq4", suite="mini_pope")
    add_cell(tmp_path, key="c2", method="gptq4", suite="mini_gqa")
    add_cell(tmp_path, key="c3", method="gptq2", suite="mini_gqa")
    _, text, page = outputs(tmp_path)
    (line,) = [row for row in text.splitlines() if row.startswith("|") and "gptq2" in row]
    assert "—" in line
    assert 'class="hole"' in page


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
