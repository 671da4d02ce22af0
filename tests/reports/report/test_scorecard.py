"""Our cells are matched with the paper's and marked."""

from reports.report.scorecard import SUITES, scorecard, tally
from reports.report.write import write_report
from tests.reports.builders import add_cell, change_result, metric


def add(root, suite, name, score, half=0.01, *, maximum=1.0, **cell):
    """A cell of a paper suite with one metric."""
    key = str(len(list(root.glob("cells/*"))))
    add_cell(root, key=key, suite=suite, variant=str(cell), **cell)
    own = metric("mme" if maximum > 1 else "mean", name=name, score=score, maximum=maximum)
    own = own.model_copy(update={"ci_low": score - half, "ci_high": score + half})
    change_result(root, key, metrics=[own])


def test_our_scores_are_compared_with_the_papers_and_marked(tmp_path):
    llava = {"model": "llava15_7b", "order": "entropy", "alpha": 0.5}
    add(tmp_path, *SUITES["TextVQA"], 0.565, method="gptq4", high="gptq-4", **llava)
    add(tmp_path, *SUITES["POPE"], 0.9, method="gptq4", high="gptq-4", **llava)
    add(
        tmp_path,
        *SUITES["MME_Perception"],
        1360,
        10,
        maximum=2000,
        method="luq",
        low="billm-code",
        high="gptq-4",
        k=16,
        **llava,
    )
    add(
        tmp_path,
        *SUITES["GQA"],
        0.582,
        method="luq",
        low="billm-code",
        high="gptq-4",
        k=15,
        **llava,
    )
    board, _ = write_report(tmp_path)
    card = scorecard(board.lines)
    marks = {
        (one.published.table, one.published.title, one.published.benchmark): one.mark
        for one in card
        if one.ours
    }
    assert marks == {
        (1, "GPTQ-4", "TextVQA"): "reproduced",
        (3, "GPTQ-4, mixed", "TextVQA"): "reproduced",
        (1, "GPTQ-4", "POPE"): "differs",
        (1, "LUQ-16, entropy", "MME_Perception"): "reproduced",
        (2, "LUQ-16, entropy", "MME_Perception"): "reproduced",
    }
    assert tally(card) == {"reproduced": 4, "differs": 1, "not run": 195}
    assert "4 reproduced, 1 differs, 195 not run" in (tmp_path / "leaderboard.md").read_text()


def test_the_last_printed_place_decides_how_far_rounding_reaches(tmp_path):
    add(tmp_path, *SUITES["TextVQA"], 0.5835, 0.001, model="llava15_7b", method="fp", high="none")
    (one,) = [
        one
        for one in scorecard(write_report(tmp_path)[0].lines)
        if one.ours and one.published.table == 1
    ]
    assert one.mark == "reproduced"  # 58.25 to 58.45, and 58.2 is printed
    add(tmp_path, *SUITES["GQA"], 0.6216, 0.001, model="llava15_7b", method="fp", high="none")
    marks = {
        o.published.benchmark: o.mark
        for o in scorecard(write_report(tmp_path)[0].lines)
        if o.ours and o.published.table == 1
    }
    assert marks == {
        "TextVQA": "reproduced",
        "GQA": "differs",
    }  # 62.06 to 62.26, and 62.0 is printed
