"""Pictures for calibration and for measured scores come from disjoint rows of a training split."""

import base64
import io
import re

import datasets
import pytest
from PIL import Image

from harness.data.image_text_sources import image_text_source
from harness.errors import ConfigError

PICTURE = Image.new("RGB", (4, 4))


def saved(folder, rows=8, **columns):
    """The folder of a data set with `rows` questions."""
    content = {
        "image": [Image.new("RGB", (4, 4), (number, 0, 0)) for number in range(rows)],
        "question": [f"what is {number}?" for number in range(rows)],
        "answer": ["red"] * rows,
        **columns,
    }
    filled = {name: values for name, values in content.items() if values is not None}
    datasets.Dataset.from_dict(filled).save_to_disk(folder)
    return str(folder)


def test_a_quarter_of_the_rows_is_held_out_and_the_seed_decides_which(tmp_path):
    source = image_text_source(saved(tmp_path / "rows"))
    questions = [[question for _, question in source.prompts(seed)] for seed in (0, 0, 1)]
    held_out = [question for _, question, _ in source.answered(0)]
    assert (len(questions[0]), len(held_out)) == (6, 2)
    assert not set(questions[0]) & set(held_out)
    assert questions[0] == questions[1] != questions[2]


def test_of_several_answers_the_most_frequent_is_taken(tmp_path):
    answers = [["a", "b", "b"]] * 8
    source = image_text_source(saved(tmp_path / "rows", answer=None, answers=answers))
    assert {answer for _, _, answer in source.answered(0)} == {"b"}


def test_a_data_set_is_known_by_its_content_and_names_its_rows(tmp_path):
    ids = [f"q{number}" for number in range(8)]
    a, b = (
        image_text_source(saved(tmp_path / name, question_id=ids, answer=[name] * 8))
        for name in "ab"
    )
    assert a.identity != b.identity
    assert a.identity == image_text_source(str(tmp_path / "a")).identity
    assert a.ids == {"question_id": set(ids)}
    assert a.columns == {"image", "question", "answer", "question_id"}


def test_only_the_training_split_is_taken(tmp_path):
    for name, splits in (("with", ("train", "test")), ("without", ("test",))):
        datasets.DatasetDict(
            {
                split: datasets.Dataset.from_dict(
                    {"image": [PICTURE], "question": [split], "answer": ["!"]}
                )
                for split in splits
            }
        ).save_to_disk(tmp_path / name)
    assert image_text_source(str(tmp_path / "with")).rows["question"] == ["train"]
    with pytest.raises(ConfigError, match="no `train`: calibration takes training data only"):
        image_text_source(str(tmp_path / "without"))


def test_a_data_set_without_the_columns_is_refused(tmp_path):
    datasets.Dataset.from_dict({"image": [1], "prompt": ["?"]}).save_to_disk(tmp_path / "rows")
    with pytest.raises(ConfigError, match="has no column answer, question"):
        image_text_source(str(tmp_path / "rows"))


def test_r16_rows_without_a_picture_or_a_question_are_left_out_and_told(tmp_path, monkeypatch):
    warnings = []
    monkeypatch.setattr("harness.data.image_text_sources.logger.warning", warnings.append)
    pictures = [Image.new("RGB", (4, 4), (number, 0, 0)) for number in range(8)]
    pictures[2] = None
    questions = ["what?"] * 7 + [" "]
    source = image_text_source(saved(tmp_path / "rows", image=pictures, question=questions))
    left = [*source.prompts(0), *source.answered(0)]
    assert len(left) == 6
    told = " ".join(warnings)
    assert "row 2: ValueError: it has no image" in told
    assert "row 7: ValueError: its question is ' '" in told


def test_r16_rows_that_are_left_out_are_counted_in_one_line(tmp_path, monkeypatch):
    warnings = []
    monkeypatch.setattr("harness.data.image_text_sources.logger.warning", warnings.append)
    source = image_text_source(saved(tmp_path / "rows", 400, question=[" ", "what?"] * 200))
    rows = source.prompts(0)
    taken = [next(rows) for _ in range(20)]
    rows.close()
    (told,) = warnings
    left_out, looked_at = map(int, re.findall(r"(\d+) of (\d+) rows are left out", told)[0])
    assert looked_at - left_out == len(taken) == 20
    assert told.count("row ") == 3 < left_out


def encoded():
    file = io.BytesIO()
    PICTURE.save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    "value",
    [encoded(), {"bytes": encoded(), "path": None}, {"path": "a.png", "bytes": encoded()}],
    ids=["bytes", "struct", "struct_with_a_path"],
)
def test_r16_encoded_pictures_are_decoded(tmp_path, value):
    source = image_text_source(saved(tmp_path / "rows", image=[value] * 8))
    assert [picture.size for picture, _ in source.prompts(0)] == [(4, 4)] * 6


@pytest.mark.parametrize(
    "value", ["a.png", base64.b64encode(encoded()).decode(), [encoded()], 3, {"url": "a"}]
)
def test_r16_a_column_of_anything_else_is_refused_before_any_work(tmp_path, value):
    folder = saved(tmp_path / "rows", image=[value] * 8)
    with pytest.raises(ConfigError, match=r"column image is .*; it needs one picture a row"):
        image_text_source(folder)


def test_rows_without_an_answer_have_no_part_in_scores(tmp_path):
    answers = [["a"], None, [], ["b"]] * 2
    source = image_text_source(saved(tmp_path / "rows", answer=None, answers=answers))
    assert {answer for _, _, answer in source.answered(0)} <= {"a", "b"}


def test_r41_files_of_a_hub_snapshot_are_told_as_no_saved_data_set(tmp_path):
    (tmp_path / "data").mkdir()
    rows = datasets.Dataset.from_dict({"image": [1], "question": ["?"], "answer": ["!"]})
    rows.to_parquet(tmp_path / "data" / "train-00000-of-00001.parquet")
    with pytest.raises(ConfigError, match=r"is no saved data set.*save_to_disk"):
        image_text_source(str(tmp_path))
