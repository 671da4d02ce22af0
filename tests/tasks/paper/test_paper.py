"""The nine real suites on replicas with the real columns."""

import json
from pathlib import Path

import datasets
import lmms_eval
import pytest
from lmms_eval.utils import load_yaml_config

from harness.evaluation.lmms_model import LuqModel
from harness.evaluation.pictures.data import local_data
from harness.evaluation.pictures.evaluation import evaluate_suite
from harness.evaluation.pictures.suite import load_suites
from harness.paths import TASKS
from tasks.paper import scoring
from tasks.paper.replicas import REPLICAS, write_replicas
from tasks.paper.rows import mme_by_pair
from tests import replicas

NAMES = tuple(task for task, _ in REPLICAS.values())
SHIPPED = {
    "paper_mme": "mme/mme.yaml",
    "paper_mmbench": "mmbench/mmbench_en_dev_static.yaml",
    "paper_textvqa": "textvqa/textvqa_val.yaml",
    "paper_vqav2": "vqav2/vqav2_val.yaml",
    "paper_vqav2_testdev": "vqav2/vqav2_test.yaml",
    "paper_gqa": "gqa/gqa.yaml",
    "paper_pope": "pope/pope.yaml",
    "paper_chartqa": "chartqa/chartqa.yaml",
    "paper_docvqa": "docvqa/docvqa_val.yaml",
    "paper_mathvista": "mathvista/mathvista_testmini_format.yaml",
}
# What differs from lmms-eval's own files, and is said in ours.
OVERRIDDEN = {
    "paper_mme": {"process_docs"},
    "paper_mmbench": {"process_docs", "process_results", "metric_list", "max_new_tokens"},
    "paper_textvqa": {"metric_list", "max_new_tokens"},
    "paper_vqav2_testdev": {"metric_list", "test_split"},
    "paper_gqa": {"process_docs", "doc_to_visual"},
    "paper_pope": {"process_results", "metric_list", "max_new_tokens"},
    "paper_mathvista": {
        "doc_to_visual",
        "doc_to_text",
        "process_results",
        "metric_list",
        "max_new_tokens",
        "temperature",
        "do_sample",
    },
}


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    """Importing lmms-eval's MathVista makes a client, which asks for a key and is never used."""
    monkeypatch.setenv("API_TYPE", "openai")
    monkeypatch.setenv("OPENAI_API_KEY", "none")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("replicas")
    write_replicas(folder, 12)
    return folder


@pytest.fixture(scope="module")
def suites(data):
    return load_suites("paper", NAMES, "llava", local_data(str(data), NAMES))


def scripted(embedded, answer):
    lm = LuqModel(loaded=embedded, batch_size=64)
    lm._generate = lambda batch, _ahead=None: [answer(int(q.label.split()[1])) for q in batch]
    return lm


def plain(value):
    """Functions by file and name: lmms-eval imports its own twice."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [plain(entry) for entry in value]
    return f"{value.__code__.co_filename} {value.__name__}" if hasattr(value, "__code__") else value


@pytest.mark.parametrize("name", SHIPPED)
def test_a_task_is_lmms_evals_own_but_for_what_it_says(name):
    ours = load_yaml_config(str(TASKS / "paper" / f"{name}.yaml"), mode="full")
    theirs = load_yaml_config(
        str(Path(lmms_eval.__file__).parent / "tasks" / SHIPPED[name]), mode="full"
    )
    keys = (
        "dataset_path",
        "dataset_name",
        "test_split",
        "output_type",
        "doc_to_visual",
        "doc_to_text",
        "process_docs",
        "process_results",
    )
    found = {key for key in keys if plain(ours.get(key)) != plain(theirs.get(key))}
    if plain(ours["metric_list"]) != plain(theirs["metric_list"]):
        found.add("metric_list")
    # textvqa's process_results and doc_to_text take what the template gives; generation arguments
    # that we do not set must not be set there
    mine, other = ours["generation_kwargs"], theirs["generation_kwargs"]
    found |= {key for key in mine.keys() | other.keys() if mine.get(key) != other.get(key)}
    if "doc_to_text" not in OVERRIDDEN.get(name, ()):
        prompts = [config["lmms_eval_specific_kwargs"]["default"] for config in (ours, theirs)]
        assert prompts[0] == {"pre_prompt": "", **prompts[1]}
    assert found == OVERRIDDEN.get(name, set())


def gold(suite, i):
    doc = suite.task.eval_docs_no_media[i]
    if suite.name == "paper_textvqa":
        return max(set(doc["answers"]), key=doc["answers"].count)
    if suite.name == "paper_mathvista" and doc["choices"]:
        return "ABCD"[doc["choices"].index(doc["answer"])]
    target = suite.task.doc_to_target(doc)
    return target[0] if isinstance(target, list) else target


@pytest.mark.parametrize("name", NAMES)
def test_gold_answers_get_full_marks_and_silence_none(store, embedded, suites, name):
    suite = suites[name]
    _, best = evaluate_suite(
        store,
        scripted(embedded, lambda i: gold(suite, i)),
        suite,
        variant="gold",
        limit=None,
        max_error_share=0.0,
    )
    _, silent = evaluate_suite(
        store,
        scripted(embedded, lambda _i: ""),
        suite,
        variant="silent",
        limit=None,
        max_error_share=0.0,
    )
    for metric in (m for m in best.metrics if m.primary):
        # annotators disagree with one another: ten answers do not all agree with the most frequent
        # one
        share = 0.9 if name in ("paper_textvqa", "paper_vqav2") else 1.0
        assert share * metric.maximum <= metric.score <= metric.maximum, metric.metric
    assert all(metric.score == 0 for metric in silent.metrics if metric.n)


@pytest.mark.parametrize(
    ("name", "form", "read"),
    [
        ("paper_pope", "{}.", True),
        ("paper_pope", "{}, as far as one can see", True),
        ("paper_pope", "as far as one can see", False),
        ("paper_mme", "{}, as far as one can see", True),
        ("paper_mme", "as far as one can see", False),
        ("paper_mmbench", "It must be ({}).", True),
        ("paper_mmbench", "???", False),
        ("paper_mathvista", "({})", True),
        ("paper_mathvista", "as far as one can see", False),
        ("paper_gqa", "{}", True),
    ],
)
def test_r4_answers_are_unparseable_exactly_where_the_scorer_reads_nothing(
    store, embedded, suites, name, form, read
):
    suite = suites[name]
    _, result = evaluate_suite(
        store,
        scripted(embedded, lambda i: form.format(gold(suite, i))),
        suite,
        variant=form,
        limit=None,
        max_error_share=0.0,
    )
    primary = next(metric for metric in result.metrics if metric.primary)
    assert primary.score == (primary.maximum if read else 0)
    assert result.unparseable == (0 if read else result.n)


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
def test_the_nine_suites_run_from_the_command_line_on_both_families(run, tmp_path, data, family):
    builder = {"llava": replicas.llava, "qwen2_5_vl": replicas.qwen_vl}[family]
    folder = builder(tmp_path / "model")
    code, text = run(
        "suite=paper",
        f"suite.data={data}",
        f"model.path={folder}",
        "model.name=replica",
        "method=gptq4",
        "calibration.tokens=1024",
        "calibration.sequence=32",
        "limit=4",
        "batch_size=4",
        "calibration=text",
    )
    assert code == 0, text
    cells = [
        json.loads(path.read_text()) for path in (tmp_path / "runs" / "cells").glob("*/cell.json")
    ]
    assert {cell["suite"] for cell in cells} == set(NAMES)
    results = [
        json.loads((tmp_path / "runs" / "results" / cell["result"] / "result.json").read_text())
        for cell in cells
    ]
    assert all(
        result["n"] >= 4 and result["errors"] == result["data_errors"] == 0 for result in results
    )


def test_test_dev_gets_a_file_for_the_official_server_and_no_score(
    run, tmp_path, data, narrow_model
):
    code, text = run(
        "suite=paper_vqav2_testdev", f"suite.data={data}", f"model.path={narrow_model}", "method=fp"
    )
    assert code == 0, text
    (file,) = (tmp_path / "runs" / "submissions").glob("paper_vqav2_testdev-*.json")
    rows = json.loads(file.read_text())
    assert [set(row) for row in rows] == [{"question_id", "answer"}] * 12
    assert (
        len((tmp_path / "runs" / "results.csv").read_text().splitlines()) == 1
    )  # the head, and no score


def test_a_folder_without_a_suites_data_is_refused_by_name(run, tmp_path, narrow_model):
    code, text = run(
        "suite=paper_gqa", f"suite.data={tmp_path}", f"model.path={narrow_model}", "method=fp"
    )
    assert code == 2
    assert "has no data set paper_gqa" in text


def test_a_suite_that_cannot_be_fetched_is_refused_with_the_way_out(run, narrow_model, monkeypatch):
    monkeypatch.setattr(
        "tenacity.nap.time.sleep", lambda _seconds: None
    )  # lmms-eval tries five times
    code, text = run("suite=paper_gqa", f"model.path={narrow_model}", "method=fp")
    assert code == 2
    assert "suite paper_gqa: the hub cannot be reached" in text
    assert "suite.data=FOLDER" in text


def test_a_limit_cuts_no_rotation_of_mmbench_apart_although_they_lie_apart_in_the_data(suites):
    suite = suites["paper_mmbench"]
    numbers = suite.task.eval_docs_no_media["index"]
    assert numbers[:4] == [0, 1_000_000, 2_000_000, 3_000_000]
    assert suite.whole_groups(2) == 4


def test_mmes_pairs_are_brought_together_and_otherwise_left_in_order():
    rows = datasets.Dataset.from_list(
        [{"question_id": name, "n": n} for n, name in enumerate("abcab")]
    )
    assert mme_by_pair(rows)["n"] == [0, 3, 1, 4, 2]


def test_charts_are_clustered_by_picture(suites):
    clusters = suites["paper_chartqa"].clusters
    pictures = [row["image"].tobytes() for row in suites["paper_chartqa"].task.eval_docs]
    assert len(set(clusters)) == len(set(pictures))


def asked(question_type, answer_type, precision=0, choices=()):
    return {
        "question_type": question_type,
        "answer_type": answer_type,
        "precision": precision,
        "choices": list(choices),
    }


CHOICE = asked("multi_choice", "text", choices=["18°", "27°", "36°", "A"])


@pytest.mark.parametrize(
    ("doc", "response", "answer"),
    [
        (CHOICE, "B", "27°"),
        (CHOICE, "(C)", "36°"),
        (CHOICE, "B. 27°", "27°"),
        (CHOICE, "36°", "36°"),
        (CHOICE, "a", "A"),
        (CHOICE, "The answer is (B).", "27°"),
        (CHOICE, "Because", None),
        (CHOICE, "E", None),
        (CHOICE, "Angle", None),
        (CHOICE, "The answer is b) 27 degrees, since the sum is 180.", "27°"),
        (CHOICE, "A triangle has three of them", None),
        (asked("free_form", "integer"), "There are 14 of them.", "14"),
        (asked("free_form", "integer"), "1,250", "1250"),
        (asked("free_form", "integer"), "-3", "-3"),
        (asked("free_form", "integer"), "none", None),
        (asked("free_form", "float", 1), "about 1.25", "1.2"),
        (asked("free_form", "float", 2), "0.5", "0.50"),
        (asked("free_form", "list"), "It is [1, 2,3].", "[1, 2, 3]"),
        (asked("free_form", "list"), "[__import__('os')]", None),
    ],
)
def test_rules_read_an_answer_or_say_that_there_is_none(doc, response, answer):
    assert scoring.mathvista_reading(response, doc) == answer


def test_the_format_prompt_is_lmms_evals_own(suites):
    from lmms_eval.tasks.mathvista.mathvista_evals import MathVistaEvaluator

    docs = [dict(doc) for doc in suites["paper_mathvista"].task.eval_docs_no_media]
    docs.append({**docs[0], **asked("free_form", "float", 1.0), "unit": "cm"})
    for doc in docs:
        theirs = MathVistaEvaluator.create_one_query(
            None,
            {"caption": "", "ocr": "", **doc},
            shot_num=0,
            shot_type="format-prompt",
            use_caption=False,
            use_ocr=False,
        )
        assert scoring.mathvista_doc_to_text(doc) == theirs
