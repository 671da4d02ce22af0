"""Evaluation of the variant in a model on a task of lmms-eval; stored answers are used again."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
from collections.abc import Mapping
from typing import Any

from lmms_eval.evaluator import evaluate as lmms_evaluate

from harness import distributed
from harness.errors import CellError
from harness.evaluation.lmms_model import LuqModel
from harness.evaluation.pictures.task import PictureTask
from harness.evaluation.pictures.thumbnails import store_thumbnails
from harness.evaluation.samples import Sample, judge, read_answer, score
from harness.evaluation.suite import ANSWERS_VERSION, stored_result
from harness.store import digest
from harness.store.answers import AnswerLog
from harness.store.store import Store, safe_name
from reports.records.results import Status, SuiteResult

SCORER_VERSION = 1  # raise it whenever the same answers would get other scores or intervals


def evaluate_suite(
    store: Store,
    lm: LuqModel,
    suite: PictureTask,
    *,
    variant: str,
    limit: int | None,
    max_error_share: float,
) -> tuple[str, SuiteResult]:
    """Evaluate the variant that is in a model on a suite.

    Questions that were answered before are not asked again.

    Args:
        store: Where answers and results are stored.
        lm: The model.
        suite: The questions.
        variant: Digest of the weights that are in the model.
        limit: Number of questions, None for all.
        max_error_share: The share of questions that may raise an error.

    Returns:
        (key, result).

    Raises:
        CellError: More questions raised an error, or lmms-eval's score is another than ours.
    """
    count = suite.whole_groups(limit)
    key = result_key(variant, lm, suite, count)

    def evaluate() -> SuiteResult:
        lm.log = AnswerLog(store, digest.of_value(_answer_parts(variant, lm, suite)))
        samples, reported = _ask(lm, suite, count)
        if len(lm.errors) > max_error_share * count:
            first = next(iter(lm.errors.values()))
            raise CellError(
                f"{suite.title}: {len(lm.errors)} of {count} questions raised an error, the first:"
                f" {first}. No score is given"
            )
        result = _result(store, lm, suite, limit, samples, reported)
        if suite.submission:
            name = f"{safe_name(suite.name)}-{variant[:8]}.json"
            rows = [sample[suite.submission] for sample in samples]
            store.write_file(store.root / "submissions" / name, json.dumps(rows))
        return result

    return key, stored_result(store, key, evaluate)


def result_key(variant: str, lm: LuqModel, suite: PictureTask, count: int) -> str:
    """Digest of everything that the result of `count` questions depends on."""
    key = digest.of_value([*_answer_parts(variant, lm, suite), count, SCORER_VERSION])
    return rules_key(key, suite)


def rules_key(key: str, suite: PictureTask) -> str:
    """Key of a result by the present rules, from that of the same result by the first ones."""
    rules = [[name, metric.rules] for name, metric in suite.metrics.items() if metric.rules]
    return digest.of_value([key, rules]) if rules else key


def _answer_parts(variant: str, lm: LuqModel, suite: PictureTask) -> list[Any]:
    return [
        variant,
        suite.name,
        suite.data,
        dict(suite.task.config.generation_kwargs),
        lm.batch_size,
        lm.loaded.dtype,
        str(lm.device.type),
        ANSWERS_VERSION,
    ]


def _ask(lm: LuqModel, suite: PictureTask, count: int) -> tuple[list[Sample], Mapping[str, Any]]:
    """(samples, scores by metric) that lmms-eval gives for the first `count` questions."""
    lm.task_dict, lm.data = {suite.name: suite.task.dataset}, suite.data
    arguments = argparse.Namespace(process_with_media=False, output_path=None, reasoning_tags=None)
    distributed.gather(None)  # joined before the others are hidden
    with (
        distributed.hidden(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        output = lmms_evaluate(
            lm,
            {suite.name: suite.task},
            limit=count,
            bootstrap_iters=0,
            log_samples=True,
            cli_args=arguments,
            verbosity="ERROR",
            process_docs_parallel=1,
        )
    return output["samples"][suite.name], output["results"][suite.name]


def _result(
    store: Store,
    lm: LuqModel,
    suite: PictureTask,
    limit: int | None,
    samples: list[Sample],
    reported: Mapping[str, Any],
) -> SuiteResult:
    failures = [lm.failure(suite.name, sample["doc_id"]) for sample in samples]
    return SuiteResult(
        **_scored(suite, samples, failures, reported),
        suite=suite.name,
        suite_title=suite.title,
        limit=limit,
        batch_size=lm.smallest_batch or lm.batch_size,
        pictures=store_thumbnails(store, suite, len(samples)),
    )


def _scored(
    suite: PictureTask,
    samples: list[Sample],
    failures: list[Status | None],
    reported: Mapping[str, Any],
) -> dict[str, Any]:
    """Answers, their counts and scores, as fields of a result."""
    clusters = [suite.clusters[sample["doc_id"]] for sample in samples]
    judged = [
        judge(sample, suite.metrics, cluster)
        for sample, cluster in zip(samples, clusters, strict=True)
    ]
    docs = suite.task.eval_docs_no_media
    answers = [
        read_answer(
            sample,
            judgement,
            cluster=cluster,
            said=suite.reading(str(sample["filtered_resps"][0]), docs[sample["doc_id"]]),
            failure=failure,
        )
        for sample, judgement, cluster, failure in zip(
            samples, judged, clusters, failures, strict=True
        )
    ]
    statuses = [answer.status for answer in answers]
    return {
        "n": len(answers),
        "errors": statuses.count("error"),
        "empty": statuses.count("empty"),
        "unparseable": statuses.count("unparseable"),
        "data_errors": statuses.count("data_error"),
        "metrics": [
            score(suite.title, name, metric, [one[name] for one in judged if name in one], reported)
            for name, metric in suite.metrics.items()
        ],
        "answers": answers,
    }


def scored_again(suite: PictureTask, result: SuiteResult) -> SuiteResult:
    """A result with its recorded answers scored by the rules of today.

    Raises:
        CellError: lmms-eval's score is another than ours.
    """
    docs, task = suite.task.eval_docs_no_media, suite.task
    samples: list[Sample] = [
        {
            "doc_id": int(answer.question_id),
            "filtered_resps": [answer.response],
            "arguments": [answer.prompt],
            "target": answer.target,
            **task.process_results(docs[int(answer.question_id)], [answer.response]),
        }
        for answer in result.answers
    ]
    failures: list[Status | None] = [
        answer.status if answer.status in ("error", "data_error") else None
        for answer in result.answers
    ]
    reported = {
        f"{name},none": task.aggregation()[name]([one[name] for one in samples if name in one])
        for name in suite.metrics
    }
    return result.model_copy(update=_scored(suite, samples, failures, reported))
