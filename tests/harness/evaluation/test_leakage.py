"""Calibration and evaluation are disjoint by id, split, picture and text; gold answers never enter
calibration.
"""

import datasets
import pytest
from PIL import Image

from harness.config.schema import CalibrationConfig
from harness.data.image_text_sources import image_text_source
from harness.data.sequences import collect
from tasks.paper import replicas

SMALL = [
    "method=gptq4",
    "calibration.tokens=512",
    "calibration.sequence=32",
    "limit=6",
    "batch_size=8",
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replicas")
    replicas.write_replicas(folder, 40)
    return folder


def saved(rows, folder, split="train"):
    datasets.DatasetDict({split: rows}).save_to_disk(folder)
    return folder


def asked(run, data, narrow_model, source, *more, suite="paper_textvqa"):
    return run(
        f"suite={suite}",
        f"suite.data={data}",
        f"model.path={narrow_model}",
        f"calibration.image_text={source}",
        *SMALL,
        *more,
    )


def test_the_training_split_of_the_suites_own_data_set_may_calibrate(run, data, narrow_model):
    code, text = asked(run, data, narrow_model, data / "textvqa_train")
    assert code == 0, text


def test_r17_rows_of_the_evaluated_split_are_refused_by_id(run, data, narrow_model, tmp_path):
    rows = datasets.load_from_disk(data / "paper_textvqa")["validation"]
    code, text = asked(run, data, narrow_model, saved(rows, tmp_path / "leak"))
    assert code == 2
    assert (
        "holds 40 rows that suite paper_textvqa asks about, for instance image_id" in text
        or "for instance question_id" in text
    )


def test_r15_a_data_set_without_a_training_split_is_refused(run, data, narrow_model):
    code, text = asked(run, data, narrow_model, data / "paper_textvqa")
    assert code == 2
    assert "has the splits validation and no `train`" in text


def test_r17_one_planted_picture_under_another_name_fails_the_cell_and_scores_nothing(
    run, data, narrow_model, tmp_path
):
    train = datasets.load_from_disk(data / "textvqa_train")["train"]
    stolen = datasets.load_from_disk(data / "paper_textvqa")["validation"][3]["image"]
    rows = [{"image": row["image"], "question": row["question"], "answer": "x"} for row in train]
    for row in rows[:100]:  # wherever the seed looks
        row["image"] = stolen
    planted = datasets.Dataset.from_list(rows).cast_column("image", datasets.Image())
    leak = saved(planted, tmp_path / "leak")
    assert (
        asked(run, data, narrow_model, leak, "method=fp")[0] == 0
    )  # which needs no calibration, and prepares the questions
    code, text = asked(run, data, narrow_model, leak)
    assert code == 1
    assert "paper_textvqa 3: its picture is also in the calibration data" in text
    assert (
        not list((tmp_path / "runs" / "cells").glob("*/cell.json"))
        or "gptq4" not in (tmp_path / "runs" / "results.csv").read_text()
    )


def test_pictures_are_known_again_when_the_statistics_come_from_the_store(
    run, data, narrow_model, tmp_path
):
    """A sweep that calibrated on one suite's pictures and then asks another that has them."""
    stolen = datasets.load_from_disk(data / "paper_gqa")["testdev"]
    rows = [{"image": row["image"], "question": row["question"], "answer": "x"} for row in stolen]
    leak = saved(
        datasets.Dataset.from_list(rows).cast_column("image", datasets.Image()), tmp_path / "leak"
    )
    assert asked(run, data, narrow_model, leak)[0] == 0
    code, text = asked(run, data, narrow_model, leak, suite="paper_gqa")
    assert code == 1
    assert "its picture is also in the calibration data" in text


def test_a_text_that_shares_a_long_line_with_the_suite_is_refused(run, tmp_path, narrow_text_model):
    line = (
        "The square is red and the circle is blue , and nobody knows why they were drawn on the"
        " same sheet ."
    )
    (tmp_path / "test.txt").write_text((line + "\n other words here\n") * 60)
    (tmp_path / "train.txt").write_text(
        ("quite another text , with nothing in common\n" * 200) + line + "\n"
    )
    options = [
        f"model.path={narrow_text_model}",
        "suite=wikitext2",
        f"suite.data={tmp_path / 'test.txt'}",
        "suite.window=32",
    ]
    options += [
        "method=gptq4",
        "calibration=text",
        "calibration.tokens=256",
        "calibration.sequence=32",
        "limit=2",
    ]
    code, text = run(*options, f"calibration.text={tmp_path / 'train.txt'}")
    assert code == 2
    assert "share 1 lines, for instance 'The square is red" in text
    (tmp_path / "clean.txt").write_text("quite another text , with nothing in common\n" * 200)
    code, text = run(*options, f"calibration.text={tmp_path / 'clean.txt'}")
    assert code == 0, text


def test_r17_answers_never_enter_calibration(embedded, tmp_path):
    picture = Image.new("RGB", (8, 8))
    rows = [
        {
            "image": picture,
            "question": f"what is on sign {i} ?",
            "answers": ["magenta"] * 9 + ["cyan"],
        }
        for i in range(40)
    ]
    folder = saved(
        datasets.Dataset.from_list(rows).cast_column("image", datasets.Image()), tmp_path / "rows"
    )
    source = image_text_source(str(folder))
    assert {answer for _, _, answer in source.answered(0)} == {"magenta"}
    found = collect(embedded, CalibrationConfig(alpha=1, image_text=str(folder), tokens=400))
    texts = embedded.processor.tokenizer.batch_decode([s["input_ids"][0] for s in found.sequences])
    assert len(texts) > 1
    assert not any("magenta" in text for text in texts)
