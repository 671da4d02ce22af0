"""Answers that models really gave get the scores that were published for them."""

import gzip
import hashlib
import io
import json

import datasets
import pytest
from PIL import Image

from harness.evaluation.lmms_model import LuqModel
from harness.evaluation.pictures.data import LocalData
from harness.evaluation.pictures.evaluation import evaluate_suite
from harness.evaluation.pictures.suite import load_suites
from tasks.paper import scoring
from tests.paths import SHARED

METRICS = SHARED / "data" / "metrics"
needs_answers = pytest.mark.skipif(
    not METRICS.is_dir(), reason=f"needs the real answers in {METRICS}"
)


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    """Importing lmms-eval's MathVista makes a client, which asks for a key and is never used."""
    monkeypatch.setenv("API_TYPE", "openai")
    monkeypatch.setenv("OPENAI_API_KEY", "none")


def picture(identity):
    """A picture of a few pixels that no other identity has."""
    pixels = hashlib.sha256(str(identity).encode()).digest()[:27]
    buffer = io.BytesIO()
    Image.frombytes("RGB", (3, 3), pixels).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def replayed(embedded, store, tmp_path, name, split, rows, predictions):
    """The score of answers that a model really gave, through lmms-eval, our counts and our
    intervals.
    """
    rows = [
        {**row, "image": picture(row.get("image_source") or row["question_id"])} for row in rows
    ]
    table = datasets.Dataset.from_list(rows).cast_column("image", datasets.Image())
    datasets.DatasetDict({split: table}).save_to_disk(tmp_path / name)
    (suite,) = load_suites(
        "paper", (name,), "llava", LocalData(name, ((name, tmp_path / name),))
    ).values()
    lm = LuqModel(loaded=embedded, batch_size=64)
    lm._generate = lambda batch, _ahead=None: [predictions[int(q.label.split()[1])] for q in batch]
    _, result = evaluate_suite(
        store,
        lm,
        suite,
        variant="replay",
        limit=None,
        max_error_share=0.0,
    )
    scores = {metric.metric: metric.score for metric in result.metrics}
    return {**scores, "unparseable": result.unparseable}


def recorded(name):
    """Rows with what a model answered, a line each; compressed files end in .gz."""
    path = METRICS / name
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    return [json.loads(line) for line in text.splitlines()]


@needs_answers
def test_real_mme_answers_get_the_published_scores(embedded, store, tmp_path):
    rows = recorded("mme_llava-v1.5-13b.jsonl")
    found = replayed(
        embedded, store, tmp_path, "paper_mme", "test", rows, [row["prediction"] for row in rows]
    )
    assert found["mme_perception_score"] == pytest.approx(1531.3, abs=0.05)
    assert found["mme_cognition_score"] == pytest.approx(295.4, abs=0.05)
    assert found["unparseable"] == 11  # a style or a name instead of yes or no


@needs_answers
def test_real_pope_answers_get_the_published_score(embedded, store, tmp_path):
    rows = [
        {**row, "image_source": row.pop("image"), "question_id": str(row["question_id"])}
        for row in recorded("pope_llava-v1.5-13b.jsonl")
    ]
    found = replayed(
        embedded, store, tmp_path, "paper_pope", "test", rows, [row["prediction"] for row in rows]
    )
    assert 100 * found["pope_mean_f1"] == pytest.approx(85.9, abs=0.05)


@needs_answers
def test_real_pope_answers_in_sentences_get_the_score_of_popes_own_scorer(
    embedded, store, tmp_path
):
    rows = recorded("pope_vila_8b.jsonl.gz")
    found = replayed(
        embedded, store, tmp_path, "paper_pope", "test", rows, [row["prediction"] for row in rows]
    )
    assert 100 * found["pope_mean_f1"] == pytest.approx(83.3579, abs=5e-5)
    assert found["pope_f1_score"] == 0  # lmms-eval's own: nobody said "yes" or "no" alone
    assert found["unparseable"] == 0


@needs_answers
@pytest.mark.parametrize(
    ("name", "right", "unread"),
    [("mathvista_llavar.jsonl.gz", 128, 358), ("mathvista_minigpt4_llama2.jsonl.gz", 219, 53)],
)
def test_real_mathvista_answers_in_sentences_are_read(name, right, unread):
    """Of 1,000; the published readings, by a language model that also guesses, find 252 and 231."""
    rows = recorded(name)
    said = [scoring.mathvista_reading(row["prediction"], row) for row in rows]
    assert sum(one == row["answer"] for one, row in zip(said, rows, strict=True)) == right
    assert said.count(None) == unread


@needs_answers
def test_real_textvqa_answers_get_the_published_score(embedded, store, tmp_path):
    rows = [
        {**row, "image_id": row["question_id"], "ocr_tokens": []}
        for row in recorded("textvqa_llava-v1.5-13b.jsonl")
    ]
    found = replayed(
        embedded,
        store,
        tmp_path,
        "paper_textvqa",
        "validation",
        rows,
        [row["prediction"] for row in rows],
    )
    assert 100 * found["exact_match"] == pytest.approx(61.3, abs=0.05)
