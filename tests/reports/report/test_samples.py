"""The samples: where variants disagree, with the picture of the question and no other file."""

import base64
import json

import pytest

from reports.report.samples import form_table, samples
from reports.report.write import write_report
from tests.reports.builders import add_cell, change_result, suite_result


def add(root, key, scores, texts, pictures="", **cell):
    add_cell(root, key=key, method=key, variant=key, **cell)
    answers = [
        answer.model_copy(update={"response": text, "status": "answered" if text else "empty"})
        for answer, text in zip(suite_result(scores, name="f1").answers, texts, strict=True)
    ]
    change_result(root, key, answers=answers, pictures=pictures)


def test_questions_on_which_variants_disagree_come_first_with_answers_grouped(tmp_path):
    add(tmp_path, "a", [1, 1, 1], ["cat", "dog", "2"])
    add(tmp_path, "b", [1, 0, 1], ["cat", "cow", "2"])
    add(tmp_path, "c", [1, 0, 0], ["cat", "cow", ""])
    add(tmp_path, "d", [1, 1, 1], ["cat", "dog", "two"])
    shown = samples(write_report(tmp_path)[0].lines, tmp_path)
    assert [one.question for one in shown] == ["1", "2", "0"]
    assert [(a.response, a.score, sorted(a.variants)) for a in shown[0].answers] == [
        ("dog", 1, ["a", "d"]),
        ("cow", 0, ["b", "c"]),
    ]
    assert {answer.status for answer in shown[1].answers} == {"answered", "empty"}
    assert shown[2].disagreement == 0
    assert len(samples(write_report(tmp_path)[0].lines, tmp_path, shown=2)) == 2


def test_the_page_says_how_often_the_form_of_answers_changed(tmp_path):
    add(tmp_path, "fp", [1, 1, 1, 1], ["cat", "dog", "2", "4"], high="none")
    add(tmp_path, "b", [1, 0, 0, 1], ["cat", "cow", "2.", "4"])
    lines = write_report(tmp_path)[0].lines
    assert form_table(lines) == (["variant", "mini_pope"], [["mini b", "25.0"]])
    assert "<td>mini b</td><td>25.0</td>" in (tmp_path / "report" / "index.html").read_text()
    alone = [line for line in lines if line.label == "fp"]
    assert form_table(alone) == (["variant"], [])


def test_the_picture_of_a_question_is_shown_as_it_is_stored(tmp_path):
    folder = tmp_path / "pictures" / "p1"
    folder.mkdir(parents=True)
    (folder / f"{'0' * 32}.webp").write_bytes(b"picture")
    (folder / "index.json").write_text(json.dumps({"0": [f"{'0' * 32}.webp"]}))
    add(tmp_path, "a", [1], ["cat"], pictures="p1")
    (one,) = samples(write_report(tmp_path)[0].lines, tmp_path)
    assert one.pictures == (f"data:image/webp;base64,{base64.b64encode(b'picture').decode()}",)


@pytest.mark.parametrize("name", ["../../secret.webp", "/etc/passwd", f"{'0' * 32}.svg", 3])
def test_r21_an_index_cannot_name_other_files(tmp_path, name):
    folder = tmp_path / "pictures" / "p1"
    folder.mkdir(parents=True)
    (tmp_path / "secret.webp").write_bytes(b"secret")
    (folder / "index.json").write_text(json.dumps({"0": [name]}))
    add(tmp_path, "a", [1], ["cat"], pictures="p1")
    (one,) = samples(write_report(tmp_path)[0].lines, tmp_path)
    assert one.pictures == ()
    assert (
        base64.b64encode(b"secret").decode() not in (tmp_path / "report" / "index.html").read_text()
    )


@pytest.mark.parametrize("index", [None, "{", '{"1": []}', "[]"])
def test_a_missing_or_damaged_index_leaves_the_sample_without_its_picture(tmp_path, index):
    if index is not None:
        (tmp_path / "pictures" / "p1").mkdir(parents=True)
        (tmp_path / "pictures" / "p1" / "index.json").write_text(index)
    add(tmp_path, "a", [1], ["cat"], pictures="p1")
    assert samples(write_report(tmp_path)[0].lines, tmp_path)[0].pictures == ()
    assert "no picture stored" in (tmp_path / "report" / "index.html").read_text()
