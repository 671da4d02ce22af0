"""Samples of lmms-eval and lm-eval, turned into records of answers and scores with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.errors import CellError
from harness.evaluation.suite import Metric
from reports.records.results import Answer, MetricScore, Status
from reports.statistics.estimate import estimate
from reports.statistics.registry import find_statistic
from reports.statistics.statistic import Judged

Sample = Mapping[str, Any]  # what lmms-eval logs of one question


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
    said: object,
    failure: Status | None,
) -> Answer:
    """The record of one answer.

    Args:
        sample: What lmms-eval logged.
        judged: Its judgement by metric.
        cluster: Of the question.
        said: What the suite's scorer reads in it; None where it can read nothing.
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
        status=failure or _status(response, said),
        scores={name: one.score for name, one in judged.items()},
        group=detail.group,
        gold=detail.gold,
        said=detail.said,
        parsed=detail.parsed,
    )


def _status(response: str, said: object) -> Status:
    if not response.strip():
        return "empty"
    return "unparseable" if said is None else "answered"


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
            rules=metric.rules,
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
        rules=metric.rules,
    )
