"""Picture suites through the real lmms-eval: oracles, constants, counts, failures."""

import io
import json
import struct
import types
import zlib

import datasets
import pytest
from PIL import Image

from harness.errors import CellError
from harness.evaluation.lmms_model import LuqModel
from harness.evaluation.pictures.data import LocalData, mini_data
from harness.evaluation.pictures.evaluation import evaluate_suite
from harness.evaluation.pictures.suite import load_suites
from harness.evaluation.suite import Metric
from harness.store.records import load_result
from harness.store.store import Store
from tasks.mini import scoring
from tasks.mini import suites as mini

NAMES = tuple(
    f"mini_{s}"
    for s in ("mme", "mmbench", "textvqa", "vqav2", "gqa", "pope", "chartqa", "docvqa", "mathvista")
)


@pytest.fixture(scope="module")
def suites(tmp_path_factory, embedded):
    return load_suites(
        "mini",
        NAMES,
        embedded.family.name,
        mini_data(Store(tmp_path_factory.mktemp("data")), NAMES),
    )


def scripted(embedded, answer):
    """A model whose answers come from `answer(label, prompt)` and not from weights."""
    lm = LuqModel(loaded=embedded, batch_size=16)
    lm._generate = lambda batch, _ahead=None: [answer(q.label, q.prompt) for q in batch]
    return lm


def evaluate(store, lm, suite, limit=60, variant="v", **options):
    return evaluate_suite(
        store, lm, suite, variant=variant, limit=limit, **{"max_error_share": 0.005, **options}
    )[1]


def gold_answers(suite):
    docs = suite.task.eval_docs_no_media
    found = []
    for doc in docs:
        target = suite.task.doc_to_target(doc)
        if suite.name == "mini_textvqa":
            target = max(set(target), key=target.count)
        if suite.name == "mini_mathvista" and doc["choices"]:
            target = "ABCD"[doc["choices"].index(doc["answer"])]
        found.append(target[0] if isinstance(target, list) else target)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_the_right_answers_score_everything_and_wrong_ones_nothing(store, embedded, suites, name):
    suite = suites[name]
    gold = gold_answers(suite)
    right = evaluate(
        store,
        scripted(embedded, lambda label, _: gold[int(label.split()[1])]),
        suite,
        variant="right",
    )
    for metric in right.metrics:
        # annotators disagree by design: three of ten may say something else, so VQA accuracy ends a
        # little below 1
        assert metric.score == pytest.approx(
            metric.maximum, abs=0.02 if name in ("mini_textvqa", "mini_vqav2") else 1e-9
        )
        assert metric.ci_low <= metric.score <= metric.ci_high
    wrong = evaluate(store, scripted(embedded, lambda *_: "zzz"), suite, variant="wrong")
    assert all(metric.score < 0.12 * metric.maximum for metric in wrong.metrics)


def test_always_yes_gets_the_known_scores(store, embedded, suites):
    yes = scripted(embedded, lambda *_: "Yes")
    pope = evaluate(store, yes, suites["mini_pope"])
    assert pope.metrics[0].score == pytest.approx(2 / 3)
    mme = evaluate(store, yes, suites["mini_mme"], limit=90)
    assert [m.score for m in mme.metrics] == [
        pytest.approx(250),
        pytest.approx(200),
    ]  # 50 for each category


def test_one_constant_letter_never_passes_a_circular_group(store, embedded, suites):
    assert (
        evaluate(store, scripted(embedded, lambda *_: "A"), suites["mini_mmbench"]).metrics[0].score
        == 0
    )


def test_r4_empty_unparseable_and_wrong_answers_are_counted_apart(store, embedded, suites):
    def answer(label, _):
        return ("", "perhaps", "yes")[int(label.split()[1]) % 3]

    result = evaluate(store, scripted(embedded, answer), suites["mini_pope"], limit=60)
    assert (result.n, result.errors, result.empty, result.unparseable) == (60, 0, 20, 20)


def failing(embedded, share):
    lm = scripted(embedded, lambda *_: "yes")

    def generate(batch, _ahead=None):
        if any(int(q.label.split()[1]) % share == 0 for q in batch):
            raise RuntimeError("decoder broke")
        return ["yes"] * len(batch)

    lm._generate = generate
    return lm


def test_r4_more_errors_than_allowed_fail_the_cell_and_give_no_score(store, embedded, suites):
    with pytest.raises(
        CellError,
        match="POPE: 4 of 120 questions raised an error, the first: RuntimeError: decoder broke",
    ):
        evaluate(store, failing(embedded, 33), suites["mini_pope"], limit=120)
    assert not (store.root / "results").exists()


def test_r4_fewer_errors_are_counted_and_a_score_is_given(store, embedded, suites):
    result = evaluate(
        store, failing(embedded, 33), suites["mini_pope"], limit=120, max_error_share=0.05
    )
    assert result.errors == 4
    assert sum(a.status == "error" for a in result.answers) == 4


def test_a_complete_result_is_not_asked_again_and_a_larger_limit_asks_only_the_rest(
    store, embedded, suites
):
    suite = suites["mini_gqa"]
    lm = LuqModel(loaded=embedded, batch_size=16)
    first = evaluate(store, lm, suite, limit=20)
    assert lm.generated == 20
    again = LuqModel(loaded=embedded, batch_size=16)
    assert evaluate(store, again, suite, limit=20) == first
    assert again.generated == 0
    assert evaluate(store, again, suite, limit=30).n == 30
    assert again.generated == 10


def test_r2_other_weights_are_other_answers(store, embedded, suites):
    suite = suites["mini_gqa"]
    evaluate(store, scripted(embedded, lambda *_: "red"), suite, limit=10, variant="first")
    other = LuqModel(loaded=embedded, batch_size=16)
    evaluate(store, other, suite, limit=10, variant="second")
    assert other.generated == 10


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"n": 10', '"n": "x"'),
        ('"n": 10', '"n": 11'),
        ('"status": "answered"', '"status": "empty"'),
    ],
)
def test_r6_a_flipped_byte_in_a_result_is_noticed_and_the_result_made_again(
    store, embedded, suites, old, new
):
    """Also one that leaves it as valid as it was."""
    suite, lm = suites["mini_gqa"], scripted(embedded, lambda *_: "red")
    key, result = evaluate_suite(store, lm, suite, variant="v", limit=10, max_error_share=0.0)
    path = store.path("results", key) / "result.json"
    path.write_text(path.read_text().replace(old, new, 1))
    assert load_result(store, key) is None
    assert len(list((store.root / "corrupt").iterdir())) == 1
    assert evaluate(store, lm, suite, limit=10) == result


def test_a_result_by_earlier_rules_becomes_the_one_of_today_without_a_model(
    store, embedded, suites, monkeypatch
):
    suite, metrics = suites["mini_pope"], suites["mini_pope"].metrics
    lm = scripted(embedded, lambda *_: "Yes, it is.")
    monkeypatch.setitem(metrics, "pope_mean_f1", Metric("mean_f1", primary=True))
    monkeypatch.setattr(
        suite.task.config, "process_results", lambda doc, _: scoring.pope_results(doc, ["?"])
    )
    old_key, old = evaluate_suite(store, lm, suite, variant="v", limit=30, max_error_share=0.0)
    assert old.metrics[0].score == 0
    monkeypatch.undo()
    again_key, again = suite.score_again(store, types.SimpleNamespace(result=old_key), old)
    assert again.metrics[0].score == pytest.approx(2 / 3)
    assert again_key != old_key
    silent = LuqModel(loaded=embedded, batch_size=16)
    silent._generate = lambda *_: pytest.fail("a question was asked")
    fresh = evaluate_suite(store, silent, suite, variant="v", limit=30, max_error_share=0.0)
    assert fresh == (again_key, again)


def test_scores_agree_with_lmms_evals_or_the_cell_fails(store, embedded, suites, monkeypatch):
    suite = suites["mini_gqa"]
    monkeypatch.setitem(suite.metrics, "exact_match", Metric("circular"))
    monkeypatch.setattr(type(suite), "whole_groups", lambda self, limit: 12)
    suite.clusters[:12] = ["a"] * 12
    with pytest.raises(
        CellError, match=r"lmms-eval reports exact_match = .* metadata\.metrics is wrong"
    ):
        evaluate(store, LuqModel(loaded=embedded), suite, limit=12)


def test_the_stored_result_is_plain_json_without_nan(store, embedded, suites):
    key, _ = evaluate_suite(
        store,
        scripted(embedded, lambda *_: "x"),
        suites["mini_docvqa"],
        variant="v",
        limit=4,
        max_error_share=0.0,
    )
    text = (store.path("results", key) / "result.json").read_text()
    assert json.loads(text, parse_constant=lambda name: pytest.fail(name))["suite"] == "mini_docvqa"


def broken_pictures():
    """(name of each kind of picture file, bytes), the last two of them sound."""

    def saved(image, form):
        buffer = io.BytesIO()
        image.save(buffer, form)
        return buffer.getvalue()

    whole = saved(Image.effect_noise((64, 64), 50).convert("RGB"), "PNG")
    header = struct.pack(">II5B", 60000, 60000, 8, 2, 0, 0, 0)
    chunk = (
        struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    )
    return {
        "truncated": whole[: len(whole) // 2],
        "not a picture": b"hello",
        "empty": b"",
        "bomb": whole[:8] + chunk + whole[33:],
        "cmyk": saved(Image.new("CMYK", (40, 40)), "JPEG"),
        "one pixel": saved(Image.new("RGB", (1, 1)), "PNG"),
    }


def test_r16_an_undecodable_picture_is_a_data_error_with_equal_denominators_for_all_variants(
    store, embedded, tmp_path
):
    rows = mini.suite_rows("gqa", 8, seed=1)
    kinds = broken_pictures()
    for row, data in zip(rows, [*kinds.values(), None, None], strict=True):
        row["image"] = {"bytes": data, "path": "picture.png"} if data is not None else row["image"]
    table = datasets.Dataset.from_list(rows).cast_column("image", datasets.Image())
    datasets.DatasetDict({"testdev": table}).save_to_disk(tmp_path / "gqa")
    data = LocalData("broken", (("mini_gqa", tmp_path / "gqa"),))
    suite = load_suites("mini", ("mini_gqa",), "llava", data)["mini_gqa"]
    for variant, answer in (
        ("right", lambda label, _: rows[int(label.split()[1])]["answer"]),
        ("wrong", lambda *_: "nothing"),
    ):
        _, result = evaluate_suite(
            store,
            scripted(embedded, answer),
            suite,
            variant=variant,
            limit=None,
            max_error_share=0.0,
        )
        assert (result.n, result.data_errors, result.errors) == (8, 4, 0)
        assert [a.status for a in result.answers[:4]] == ["data_error"] * 4
        assert {a.status for a in result.answers[4:]} == {"answered"}
        (metric,) = result.metrics
        assert (metric.n, metric.score) == (8, 0.5 if variant == "right" else 0.0)
