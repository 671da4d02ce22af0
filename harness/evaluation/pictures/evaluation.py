"""Evaluation of the variant in a model on a task of lmms-eval; stored answers are used again."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

from lmms_eval.evaluator import evaluate as lmms_evaluate

from harness import distributed
from harness.errors import CellError, RowError
from harness.evaluation.lmms_model import LuqModel
from harness.evaluation.pictures.task import PictureTask
from harness.evaluation.pictures.thumbnails import store_thumbnails
from harness.evaluation.samples import Sample, judge, read_answer, score
from harness.evaluation.suite import ANSWERS_VERSION, stored_result
from harness.failures import OURS, cause, require_of_a_cell
from harness.store import digest
from harness.store.answers import AnswerLog
from harness.store.store import Store, safe_name
from reports.records.results import Answer, Status, SuiteResult
from reports.statistics.statistic import Judged

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
        CellError: More questions raised an error, no picture can be read, or lmms-eval's score is
            another than ours.
        RowError: The task cannot ask or score a row.
    """
    count = suite.whole_groups(limit)
    key = result_key(variant, lm, suite, count)

    def evaluate() -> SuiteResult:
        lm.log = AnswerLog(store, digest.of_value(_answer_parts(variant, lm, suite)))
        with _errors_of_rows(suite):
            samples, reported = _ask(lm, suite, count)
        if len(lm.data_errors) == count:
            first = next(iter(lm.data_errors.values()))
            raise CellError(
                f"{suite.title}: none of the pictures of {count} questions can be read, the first:"
                f" {first}. No score is given"
            )
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


@contextlib.contextmanager
def _errors_of_rows(suite: PictureTask, row: int | None = None) -> Iterator[None]:
    """Raise what a task's code raises as RowError, with the suite, the row and the cause.

    Args:
        suite: The task.
        row: Its number in the data; None for that which lmms-eval is at work on.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        require_of_a_cell(error)
        if type(error).__module__.split(".")[0] in OURS:
            raise
        number = _row_of(error) if row is None else row
        place = suite.title if number is None else f"{suite.title}, row {number} of its data"
        raise RowError(f"{place}: {cause(error)}") from error


def _row_of(error: BaseException) -> int | None:
    """The number of the row in lmms-eval's innermost frame that has one."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    numbers = [
        frame.f_locals["doc_id"]
        for frame in frames
        if frame.f_globals.get("__name__", "").startswith("lmms_eval.")
        and isinstance(frame.f_locals.get("doc_id"), int)
    ]
    return numbers[-1] if numbers else None


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
    docs = suite.task.eval_docs_no_media
    judged: list[dict[str, Judged]] = []
    answers: list[Answer] = []
    for sample, failure in zip(samples, failures, strict=True):
        row = sample["doc_id"]
        with _errors_of_rows(suite, row):
            judged.append(judge(sample, suite.metrics, suite.clusters[row]))
            answers.append(
                read_answer(
                    sample,
                    judged[-1],
                    cluster=suite.clusters[row],
                    said=suite.reading(str(sample["filtered_resps"][0]), docs[row]),
                    failure=failure,
                )
            )
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
        RowError: The task cannot score a row.
    """
    docs, task = suite.task.eval_docs_no_media, suite.task
    samples: list[Sample] = []
    for answer in result.answers:
        row = int(answer.question_id)
        with _errors_of_rows(suite, row):
            samples.append(
                {
                    "doc_id": row,
                    "filtered_resps": [answer.response],
                    "arguments": [answer.prompt],
                    "target": answer.target,
                    **task.process_results(docs[row], [answer.response]),
                }
            )
    failures: list[Status | None] = [
        answer.status if answer.status in ("error", "data_error") else None
        for answer in result.answers
    ]
    with _errors_of_rows(suite):
        reported = {
            f"{name},none": task.aggregation()[name]([one[name] for one in samples if name in one])
            for name in suite.metrics
        }
    return result.model_copy(update=_scored(suite, samples, failures, reported))
