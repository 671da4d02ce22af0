"""Suites of a text: lm-eval scores windows of it, and perplexity gets an interval over windows."""

from __future__ import annotations

import contextlib
import functools
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import datasets
from lm_eval.api.task import ConfigurableTask
from lm_eval.evaluator import evaluate as lm_evaluate

from harness import distributed
from harness.config.schema import CalibrationConfig, SuiteConfig
from harness.data.hub import load_hub_dataset
from harness.data.text_files import read_text_file
from harness.errors import CellError, ConfigError
from harness.evaluation.leakage import text_overlap
from harness.evaluation.suite import ANSWERS_VERSION, EvaluationContext, Metric, stored_result
from harness.evaluation.task_files import read_task_file
from harness.evaluation.window_model import WindowLM
from harness.models.load import LoadedModel
from harness.paths import TASKS
from harness.store import digest
from harness.store.answers import AnswerLog
from harness.store.store import Store
from reports.records.results import Answer, MetricScore, SuiteResult
from reports.statistics.estimate import estimate
from reports.statistics.registry import PERPLEXITY
from reports.statistics.statistic import Judged
from tasks.text import wikitext

FOLDER = "text"
SCORER_VERSION = 1  # raise it whenever the same likelihoods would get other scores or intervals
TOKENS, WORDS = "token_perplexity", "word_perplexity"
PROMPT_CHARACTERS = 160  # of a window that its result shows


@dataclass(frozen=True)
class TextSuite:
    """A `Suite` that is a text, cut into windows of tokens; what is left at its end is not scored,
    as in the literature.

    Attributes:
        name: Of the task file.
        title: In tables and figures.
        text: All of it.
        ids: Its tokens under the tokenizer of one model.
        window: Tokens of a window.
        batch_size: Windows that go through the model at once.
        data: Digest of text, window and task.
    """

    metrics: ClassVar[Mapping[str, Metric]] = {
        TOKENS: Metric(PERPLEXITY.name, primary=True),
        WORDS: Metric(PERPLEXITY.name),
    }
    name: str
    title: str
    text: str
    ids: tuple[int, ...]
    window: int
    batch_size: int
    data: str

    @property
    def clusters(self) -> list[str]:
        """One for each window."""
        return [str(number) for number in range(len(self.ids) // self.window)]

    def whole_groups(self, limit: int | None) -> int:
        """Number of windows, at most `limit`."""
        return len(self.clusters) if limit is None else min(limit, len(self.clusters))

    def answer(
        self, context: EvaluationContext, variant: str, limit: int | None
    ) -> tuple[str, SuiteResult]:
        """Score the first `limit` windows; see `Suite.answer`.

        Raises:
            CellError: A likelihood is not finite, or lm-eval's word perplexity is another than
                ours.
        """
        count = self.whole_groups(limit)
        parts = self._answer_parts(variant, context.loaded)
        log = AnswerLog(context.store, digest.of_value(parts))

        def evaluate() -> SuiteResult:
            lm = WindowLM(context.loaded, self.window, self.batch_size, log, context.on_progress)
            return self._evaluate(lm, count, limit)

        key = self.result_key(variant, context.loaded, count)
        with distributed.rank_zero_first():
            return key, stored_result(context.store, key, evaluate)

    def select(self, split: str) -> TextSuite:
        """A text has no other split; see `Suite.select`."""
        raise ConfigError(
            f"search.suite={self.name} is one text, of which no split is left to choose k by;"
            " choose a suite of questions, such as search.suite=mini_mme"
        )

    def overlap(self, calibration: CalibrationConfig) -> str:
        """Lines that the calibration text shares with this one; see `Suite.overlap`."""
        return text_overlap(calibration, self.name, self.text)

    def result_key(self, variant: str, loaded: LoadedModel, count: int) -> str:
        """Digest of everything that the result of `count` windows depends on."""
        return digest.of_value([*self._answer_parts(variant, loaded), count, SCORER_VERSION])

    def _answer_parts(self, variant: str, loaded: LoadedModel) -> list[Any]:
        return [
            variant,
            self.name,
            self.data,
            self.batch_size,
            loaded.dtype,
            loaded.device.type,
            ANSWERS_VERSION,
        ]

    def _evaluate(self, lm: WindowLM, count: int, limit: int | None) -> SuiteResult:
        text = lm.tokenizer.decode(
            self.ids[: count * self.window], clean_up_tokenization_spaces=False
        )
        task = {self.name: _task(self.name, text)}
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            output = lm_evaluate(lm, task, bootstrap_iters=0, log_samples=False)
        lm.log.compact(lm.stored)
        words = _words(text)
        own = sum(lm.losses) * self.window / words
        _check(self.title, own, output["results"][self.name])
        answers = self._answers(lm.losses, lm.tokenizer)
        return SuiteResult(
            suite=self.name,
            suite_title=self.title,
            limit=limit,
            n=len(answers),
            errors=0,
            empty=0,
            unparseable=0,
            metrics=_scores(lm.losses, self.window, words),
            answers=answers,
        )

    def _answers(self, losses: Sequence[float], tokenizer: Any) -> list[Answer]:
        size = self.window
        return [
            Answer(
                question_id=str(number),
                cluster=str(number),
                prompt=tokenizer.decode(self.ids[number * size : (number + 1) * size])[
                    :PROMPT_CHARACTERS
                ],
                target="",
                response="",
                status="answered",
                scores={TOKENS: loss},
            )
            for number, loss in enumerate(losses)
        ]


def open_suites(
    settings: SuiteConfig, loaded: LoadedModel, store: Store, seed: int
) -> dict[str, TextSuite]:
    """Texts of `tasks/text`, from the hub or from the file `suite.data`; see `OpenSuites`."""
    assert settings.batch_size is not None, "see OpenSuites"
    suites = {}
    for name in settings.tasks:
        metadata = _task_file(name)["metadata"]
        text = suite_text(name, settings.data)
        ids = tuple(loaded.processor.tokenizer(text)["input_ids"])
        if len(ids) < settings.window:
            raise ConfigError(
                f"suite {name}: the text has {len(ids)} tokens, fewer than one window of"
                f" {settings.window}; set suite.window lower"
            )
        data = digest.of_value([digest.of_value(text), settings.window, metadata["version"]])
        suites[name] = TextSuite(
            name, metadata["title"], text, ids, settings.window, settings.batch_size, data
        )
    return suites


def suite_text(name: str, data: str | None) -> str:
    """The text of a suite.

    Args:
        name: Of the suite.
        data: A UTF-8 text file; None for the data set that the task file names.

    Raises:
        ConfigError: There is no such suite, file or data set.
    """
    file = _task_file(name)
    if data is not None:
        path = Path(data)
        if not path.is_file():
            raise ConfigError(
                f"suite.data={data}: no such text file; give the path of one, or null to fetch"
                f" {file['dataset_path']}"
            )
        return wikitext.joined(wikitext.file_rows(read_text_file(path, "suite.data")))
    rows = load_hub_dataset(
        file["dataset_path"],
        file.get("dataset_name"),
        file["test_split"],
        what=f"suite={name}",
        instead="give the text as suite.data=FILE",
    )
    return wikitext.joined(rows["text"])


@functools.cache
def _task_file(name: str) -> dict[str, Any]:
    files = {path.stem: path for path in (TASKS / FOLDER).glob("*.yaml")}
    if name not in files:
        raise ConfigError(f"unknown suite {name}; tasks/{FOLDER} has {', '.join(sorted(files))}")
    return read_task_file(files[name])


def _task(name: str, text: str) -> ConfigurableTask:
    """lm-eval's task of the task file, with the text as its only document."""
    config = {**_task_file(name), "process_results": wikitext.text_results}
    rows = {config["test_split"]: datasets.Dataset.from_list([{"text": text}])}
    plain = {
        key: value
        for key, value in config.items()
        if key not in ("metadata", "dataset_path", "dataset_name")
    }
    return ConfigurableTask(config={**plain, "custom_dataset": lambda **_: rows})


def _words(text: str) -> int:
    return int(wikitext.text_results({"text": text}, [0.0])[WORDS][1])


def _check(title: str, own: float, reported: Mapping[str, Any]) -> None:
    """Refuse a word perplexity of exp(own) where lm-eval reports another."""
    other = math.log(float(reported[f"{WORDS},none"]))
    if abs(own - other) > 1e-6 * own:
        raise CellError(
            f"{title}: lm-eval's word perplexity is exp({other}), the windows give exp({own})"
        )


def _scores(losses: Sequence[float], window: int, words: int) -> list[MetricScore]:
    """Perplexity by token, exp(mean loss), and by word, exp(mean loss * tokens / words).

    Args:
        losses: Nats per token, of each window.
        window: Tokens of a window.
        words: Of all windows.
    """
    judged = [Judged(str(number), loss) for number, loss in enumerate(losses)]
    by_token = estimate(PERPLEXITY, judged)
    ends = [by_token.score, by_token.low, by_token.high]
    tokens = len(losses) * window
    by_word = [math.exp(math.log(value) * tokens / words) for value in ends]
    return [_metric(TOKENS, ends, by_token.n), _metric(WORDS, by_word, by_token.n)]


def _metric(name: str, values: Sequence[float], count: int) -> MetricScore:
    if not all(map(math.isfinite, values)):
        raise CellError(
            f"{name} is too large for a number: the model's likelihood of the text is next to"
            " nothing"
        )
    score, low, high = values
    return MetricScore(
        metric=name,
        score=score,
        ci_low=low,
        ci_high=high,
        n=count,
        maximum=max(1.0, score),
        primary=TextSuite.metrics[name].primary,
        statistic=PERPLEXITY.name,
    )
