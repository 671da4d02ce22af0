"""Samples of lmms-eval and lm-eval, turned into records of answers and scores with intervals."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.errors import CellError
from harness.evaluation.suite import Metric
from reports.records.results import Answer, MetricScore, Status
from reports.statistics.estimate import estimate
from reports.statistics.registry import find_statistic
from reports.statistics.statistic import Judged

Sample = Mapping[str, Any]  # what lmms-eval logs of one question
# By the kind of answers that a suite asks for: whether a text is one.
PARSEABLE: dict[str, Callable[[str], bool]] = {
    "yes_no": lambda text: re.fullmatch(r"(yes|no)\W*", text.strip().lower()) is not None,
    "option": lambda text: re.match(r"\(?[A-E]\b", text.strip()) is not None,
    "number": lambda text: re.search(r"\d", text) is not None,
    "free": lambda text: True,
}


def judge(sample: Sample, metrics: Mapping[str, Metric], cluster: str) -> dict[str, Judged]:
    """lmms-eval's judgement of one answer by metric; metrics that leave the question out are not
    in it.
    """
    return {
        name: _judged(sample[name], metric, cluster)
        for name, metric in metrics.items()
        if sample.get(name) is not None
    }


def _judged(value: Any, metric: Metric, cluster: str) -> Judged:
    if not isinstance(value, Mapping):
        return Judged(cluster, float(value))
    group = ""
    if find_statistic(metric.statistic).grouped:
        group = str(value.get("category", value.get("split", "")))
    prediction = value.get("prediction")
    return Judged(
        cluster,
        score=float(value["score"] if "score" in value else value["correct"]),
        group=group,
        gold=value.get("ground_truth") == "yes",
        said=prediction == "yes",
        parsed=prediction in ("yes", "no"),
    )


def read_answer(
    sample: Sample,
    judged: Mapping[str, Judged],
    *,
    cluster: str,
    kind: str,
    failure: Status | None,
) -> Answer:
    """The record of one answer.

    Args:
        sample: What lmms-eval logged.
        judged: Its judgement by metric.
        cluster: Of the question.
        kind: Of the answers of the suite, a key of PARSEABLE.
        failure: Why there is no answer; None where there is one.
    """
    response, target = str(sample["filtered_resps"][0]), sample["target"]
    # Metrics share what is known of an answer; one that groups answers knows the most.
    detail = max(judged.values(), key=lambda one: len(one.group), default=Judged("", 0.0))
    return Answer(
        question_id=str(sample["doc_id"]),
        cluster=cluster,
        prompt=str(sample["arguments"][0]),
        target=(
            ", ".join(map(str, dict.fromkeys(target))) if isinstance(target, list) else str(target)
        ),
        response=response,
        status=failure or _status(response, kind),
        scores={name: one.score for name, one in judged.items()},
        group=detail.group,
        gold=detail.gold,
        said=detail.said,
        parsed=detail.parsed,
    )


def _status(response: str, kind: str) -> Status:
    if not response.strip():
        return "empty"
    return "answered" if PARSEABLE[kind](response) else "unparseable"


def score(
    title: str, name: str, metric: Metric, answers: Sequence[Judged], reported: Mapping[str, Any]
) -> MetricScore:
    """Score and interval of one metric; without answers there is no score.

    Args:
        title: Of the suite, for the error.
        name: Of the metric.
        metric: Its statistic.
        answers: Those that the metric applies to.
        reported: lmms-eval's scores.

    Raises:
        CellError: lmms-eval reports another score.
    """
    if not answers:
        return MetricScore(
            metric=name,
            score=None,
            ci_low=None,
            ci_high=None,
            n=0,
            maximum=1.0,
            primary=metric.primary,
        )
    own = estimate(find_statistic(metric.statistic), answers)
    other = float(reported[f"{name},none"])
    if abs(other - own.score) > 1e-6 * own.maximum:
        raise CellError(
            f"{title}: lmms-eval reports {name} = {other}, the answers give {own.score};"
            " the task's metadata.metrics is wrong"
        )
    return MetricScore(
        metric=name,
        score=own.score,
        ci_low=own.low,
        ci_high=own.high,
        n=own.n,
        maximum=own.maximum,
        primary=metric.primary,
        statistic=metric.statistic,
    )
