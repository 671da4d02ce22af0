"""Picture suites: other splits, rows shared with calibration data, and result keys."""

import types

import datasets
import pytest
import torch

from harness.config.schema import CalibrationConfig, SuiteConfig
from harness.errors import ConfigError
from harness.evaluation.lmms_model import LuqModel
from harness.evaluation.pictures.data import LocalData
from harness.evaluation.pictures.evaluation import result_key
from harness.evaluation.pictures.suite import load_suites, open_suites
from harness.evaluation.suite import EvaluationContext
from tasks.mini import suites as mini

NAME = "mini_gqa"


@pytest.fixture
def folder(tmp_path):
    """A data set with the split that is reported and another one."""
    splits = {
        name: datasets.Dataset.from_list(mini.suite_rows("gqa", 6, seed=seed)).cast_column(
            "image", datasets.Image()
        )
        for seed, name in enumerate(("testdev", "tuning"))
    }
    datasets.DatasetDict(splits).save_to_disk(tmp_path / NAME)
    return tmp_path


@pytest.fixture
def suite(embedded, store, folder):
    settings = SuiteConfig(NAME, "mini", [NAME], data=str(folder))
    return open_suites(settings, embedded, store, 0)[NAME]


def test_another_split_of_the_same_data_can_be_chosen_by(suite):
    other = suite.select("tuning")
    assert (other.name, len(other.clusters)) == (NAME, 6)
    assert other.task.eval_docs_no_media["question"] != suite.task.eval_docs_no_media["question"]


def test_the_reported_split_and_one_that_is_not_there_are_refused(suite):
    with pytest.raises(ConfigError, match="which GQA reports; k would be chosen by what"):
        suite.select("testdev")
    with pytest.raises(ConfigError, match="has no split 'train'; it has testdev, tuning"):
        suite.select("train")


def test_rows_are_shared_by_id_and_only_where_pictures_calibrate(suite, folder, tmp_path):
    rows = datasets.load_from_disk(folder / NAME)["testdev"].add_column("image_id", list("abcdef"))
    datasets.DatasetDict({"train": rows}).save_to_disk(tmp_path / "train")
    source = str(tmp_path / "train")
    assert suite.overlap(CalibrationConfig(alpha=0.5, image_text=source)) == ""  # no shared id
    assert suite.overlap(CalibrationConfig(alpha=0.5, image_text="mini")) == ""
    assert suite.overlap(CalibrationConfig(alpha=0.0, image_text=None)) == ""


def test_answer_gives_the_result_under_its_key(suite, embedded, store, monkeypatch):
    monkeypatch.setattr(LuqModel, "_generate", lambda self, batch, _ahead=None: ["x"] * len(batch))
    done = []
    context = EvaluationContext(store, embedded, batch_size=4, on_progress=done.append)
    key, result = suite.answer(context, "variant", 3)
    lm = LuqModel(loaded=embedded, batch_size=4)
    assert key == result_key("variant", lm, suite, 3)
    assert store.has("results", key)
    assert (result.n, sum(done)) == (3, 3)


def test_a_result_key_is_the_one_of_version_0_1_0(tmp_path):
    """Results that exist stay valid as long as ANSWERS_VERSION is the same."""
    mini.suite_dataset("gqa", count=6).save_to_disk(tmp_path / NAME)
    data = LocalData("few", ((NAME, tmp_path / NAME),))
    suite = load_suites("mini", (NAME,), "llava", data)[NAME]
    cpu = torch.device("cpu")
    loaded = types.SimpleNamespace(dtype="float32", device=cpu)
    lm = types.SimpleNamespace(batch_size=64, loaded=loaded, device=cpu)
    assert result_key("variant", lm, suite, 3) == "6e3368ecc71bff1d08181edf"


def test_a_language_model_is_refused(store, folder, narrow_text_model):
    from harness.models.load import load_model

    loaded = load_model("words", str(narrow_text_model), "float32", "cpu")
    settings = SuiteConfig("mini_gqa", "mini", [NAME], data=str(folder))
    with pytest.raises(ConfigError, match="words is a language model and mini_gqa asks about"):
        open_suites(settings, loaded, store, 0)


def test_suites_are_loaded_once(suite, folder):
    assert load_suites("mini", (NAME,), suite.family, suite.source)[NAME] is suite
