"""lmms-eval's samples become answers and scores."""

import pytest

from harness.errors import CellError
from harness.evaluation.samples import judge, read_answer, score
from harness.evaluation.suite import Metric

ACCURACY = {"accuracy": Metric("mean", primary=True)}


def sample(response="Yes", **values):
    return {
        "doc_id": 3,
        "filtered_resps": [response],
        "target": ["yes", "yes", "y"],
        "arguments": ["Is it red?"],
        **values,
    }


def answer(one, metrics=ACCURACY, said="yes", failure=None):
    judged = judge(one, metrics, "picture")
    return read_answer(one, judged, cluster="picture", said=said, failure=failure)


def test_a_number_is_a_score_and_a_metric_that_leaves_a_question_out_has_none():
    metrics = {**ACCURACY, "cognition": Metric("mme")}
    judged = judge(sample(accuracy=1, cognition=None), metrics, "picture")
    assert set(judged) == {"accuracy"}
    assert (judged["accuracy"].cluster, judged["accuracy"].score) == ("picture", 1.0)


def test_a_record_has_its_group_but_for_circular_groups():
    record = {"category": "color", "score": 1.0, "ground_truth": "yes", "prediction": "no"}
    (one,) = judge(sample(m=record), {"m": Metric("mme")}, "c").values()
    assert (one.group, one.gold, one.said, one.parsed) == ("color", True, False, True)
    circular = {"category": "color", "correct": 0.0}
    (one,) = judge(sample(m=circular), {"m": Metric("circular")}, "c").values()
    assert (one.group, one.score) == ("", 0.0)


def test_an_answer_is_unparseable_where_the_scorer_reads_nothing_in_it():
    assert answer(sample("Yes, it is.")).status == "answered"
    assert answer(sample("perhaps"), said=None).status == "unparseable"
    assert answer(sample("0"), said=0).status == "answered"
    assert answer(sample(" \n"), said=None).status == "empty"


def test_a_failure_comes_before_what_the_text_says():
    assert answer(sample(""), failure="error").status == "error"
    assert answer(sample(""), failure="data_error").status == "data_error"


def test_targets_are_shown_once_each():
    assert answer(sample(accuracy=1.0)).target == "yes, y"


def judged(*scores):
    return [
        judge(sample(accuracy=one), ACCURACY, str(number))["accuracy"]
        for number, one in enumerate(scores)
    ]


def test_a_score_is_lmms_evals_own():
    metric = score("S", "accuracy", ACCURACY["accuracy"], judged(1, 0), {"accuracy,none": 0.5})
    assert (metric.score, metric.n, metric.primary, metric.statistic) == (0.5, 2, True, "mean")
    with pytest.raises(CellError, match=r"S: lmms-eval reports accuracy = 0\.6, the answers give"):
        score("S", "accuracy", ACCURACY["accuracy"], judged(1, 0), {"accuracy,none": 0.6})


def test_without_answers_there_is_no_score():
    metric = score("S", "accuracy", ACCURACY["accuracy"], [], {})
    assert (metric.score, metric.n) == (None, 0)
