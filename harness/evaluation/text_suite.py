"""One variant on one text: lm-eval scores windows of it, every window is kept, perplexity gets an
interval over windows.
"""

from __future__ import annotations

import contextlib
import functools
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
from lm_eval.api.task import ConfigurableTask
from lm_eval.evaluator import evaluate as lm_evaluate
from lm_eval.models.huggingface import HFLM

from harness import __version__
from harness.data.hub import hub_dataset
from harness.errors import CellError, ConfigError
from harness.evaluation.task_files import read_task_file
from harness.models.load import LoadedModel
from harness.paths import TASKS
from harness.store import digest
from harness.store.store import AnswerLog, Store
from reports.records.results import Answer, MetricScore, SuiteResult, to_json
from reports.statistics.estimate import Judged, estimate
from tasks.text import utils

RESULT_FILE = "result.json"
SCORER_VERSION = 1
METRIC = "token_perplexity"
SHOWN = 160  # characters of a window that its result keeps
Window = tuple[Any, list[int], list[int]]


@dataclass(frozen=True)
class TextSuite:
    """A text and its tokens under one model, cut into windows. clusters: one for each window. data:
    digest.
    """

    name: str
    title: str
    text: str
    ids: tuple[int, ...]
    window: int
    batch_size: int
    data: str

    @property
    def clusters(self) -> list[str]:
        return [str(i) for i in range(len(self.ids) // self.window)]

    def whole_groups(self, limit: int | None) -> int:
        """Windows of a limit; the rest of the text behind the last whole window is left out, as the
        literature does.
        """
        return len(self.clusters) if limit is None else min(limit, len(self.clusters))


def load_text_suites(
    loaded: LoadedModel, names: Sequence[str], data: str | None, window: int, batch_size: int
) -> dict[str, TextSuite]:
    """data: a UTF-8 text file instead of what the YAML names on the hub. Raises ConfigError."""
    found = {}
    for name in names:
        meta = _described(name)
        text = suite_text(name, data)
        ids = tuple(loaded.processor.tokenizer(text)["input_ids"])
        if len(ids) < window:
            raise ConfigError(
                f"suite {name}: the text has {len(ids)} tokens, fewer than one window of {window};"
                " set suite.window lower"
            )
        identity = digest.of_value([digest.of_value(text), window, meta["metadata"]["version"]])
        found[name] = TextSuite(
            name, meta["metadata"]["title"], text, ids, window, batch_size, identity
        )
    return found


def suite_text(name: str, data: str | None) -> str:
    """The whole text of a suite, from a file or the hub."""
    meta = _described(name)
    if data is not None:
        path = Path(data)
        if not path.is_file():
            raise ConfigError(
                f"suite.data={data}: no such text file; give the path of one, or null to fetch"
                f" {meta['dataset_path']}"
            )
        return utils.joined(utils.file_rows(path))
    rows = hub_dataset(
        meta["dataset_path"],
        meta.get("dataset_name"),
        meta["test_split"],
        what=f"suite={name}",
        instead="give the text as suite.data=FILE",
    )
    return utils.joined(rows["text"])


@functools.cache
def _described(name: str) -> dict[str, Any]:
    """What the YAML of a text suite says."""
    files = {path.stem: path for path in (TASKS / "text").glob("*.yaml")}
    if name not in files:
        raise ConfigError(f"unknown suite {name}; tasks/text has {', '.join(sorted(files))}")
    return read_task_file(files[name])


class WindowLM(HFLM):
    """lm-eval's own model over one that is loaded, whose windows are kept as they are scored; those
    in `log` are not scored again.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        suite: TextSuite,
        log: AnswerLog,
        on_progress: Callable[[int], None],
    ):
        with contextlib.redirect_stderr(io.StringIO()):
            super().__init__(
                pretrained=loaded.model,
                tokenizer=loaded.processor.tokenizer,
                max_length=suite.window,
                batch_size=suite.batch_size,
            )
        self.log, self.known, self.on_progress = log, log.load(), on_progress
        self.losses: list[float] = []
        self.asked = 0

    def _loglikelihood_tokens(
        self, requests: list[Window], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        keys = [digest.of_value([context, continuation]) for _, context, continuation in requests]
        new = {
            key: request
            for request, key in zip(requests, keys, strict=True)
            if key not in self.known
        }
        if new:
            scored = super()._loglikelihood_tokens(
                list(new.values()), disable_tqdm=True, override_bs=len(new)
            )
            self.asked += len(new)
            fresh = {}
            for key, (loglikelihood, _) in zip(new, scored, strict=True):
                if not math.isfinite(loglikelihood):
                    raise CellError("the model's likelihood of a window is NaN or infinite")
                fresh[key] = {"loglikelihood": loglikelihood}
            self.log.append(fresh)
            self.known.update(fresh)
        found = [float(self.known[key]["loglikelihood"]) for key in keys]
        self.losses += [
            -value / len(request[2]) for value, request in zip(found, requests, strict=True)
        ]
        self.on_progress(len(requests))
        return [(value, False) for value in found]


def text_result_key(variant: str, loaded: LoadedModel, suite: TextSuite, count: int) -> str:
    return digest.of_value([*_parts(variant, loaded, suite), count, SCORER_VERSION])


def _parts(variant: str, loaded: LoadedModel, suite: TextSuite) -> list[Any]:
    return [
        variant,
        suite.name,
        suite.data,
        suite.batch_size,
        loaded.dtype,
        loaded.device.type,
        __version__,
    ]


def evaluate_text(
    store: Store,
    loaded: LoadedModel,
    suite: TextSuite,
    *,
    variant: str,
    limit: int | None,
    on_progress: Callable[[int], None] = lambda _count: None,
) -> tuple[str, SuiteResult]:
    """(key, result) of the variant whose weights are in the model.

    Windows scored earlier are not scored again.

    Raises CellError for a likelihood that is not finite, and when lm-eval's word perplexity and
    ours disagree.
    """
    count = suite.whole_groups(limit)
    key = text_result_key(variant, loaded, suite, count)
    found = store.load_entry("results", key, RESULT_FILE, SuiteResult)
    if found is not None:
        return key, found
    lm = WindowLM(
        loaded,
        suite,
        AnswerLog(store, digest.of_value(_parts(variant, loaded, suite))),
        on_progress,
    )
    text = loaded.processor.tokenizer.decode(
        suite.ids[: count * suite.window], clean_up_tokenization_spaces=False
    )
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        output = lm_evaluate(
            lm, {suite.name: _task(suite.name, text)}, bootstrap_iters=0, log_samples=False
        )
    lm.log.compact(lm.known)
    result = _result(suite, lm.losses, limit, loaded, output["results"][suite.name], text)
    with store.creating("results", key) as folder:
        (folder / RESULT_FILE).write_text(to_json(result))
    return key, result


def _task(name: str, text: str) -> ConfigurableTask:
    """lm-eval's task of the YAML with the text as its only document."""
    config = {**_described(name), "process_results": utils.text_results}
    rows = {config["test_split"]: datasets.Dataset.from_list([{"text": text}])}
    plain = {
        key: value
        for key, value in config.items()
        if key not in ("metadata", "dataset_path", "dataset_name")
    }
    return ConfigurableTask(config={**plain, "custom_dataset": lambda **_: rows})


def _result(
    suite: TextSuite,
    losses: list[float],
    limit: int | None,
    loaded: LoadedModel,
    reported: Mapping[str, Any],
    text: str,
) -> SuiteResult:
    tokenizer, size = loaded.processor.tokenizer, suite.window
    answers = [
        Answer(
            question_id=str(i),
            cluster=str(i),
            prompt=tokenizer.decode(suite.ids[i * size : (i + 1) * size])[:SHOWN],
            target="",
            response="",
            status="answered",
            scores={METRIC: loss},
        )
        for i, loss in enumerate(losses)
    ]
    token = estimate("perplexity", [Judged(str(i), loss) for i, loss in enumerate(losses)])
    words = utils.text_results({"text": text}, [0.0])["word_perplexity"][1]
    tokens = len(losses) * size
    ours, theirs = sum(losses) * size / words, math.log(float(reported["word_perplexity,none"]))
    if abs(ours - theirs) > 1e-6 * ours:
        raise CellError(
            f"{suite.title}: lm-eval's word perplexity is exp({theirs}), the windows give"
            f" exp({ours})"
        )
    per_word = [
        math.exp(math.log(value) * tokens / words) for value in (token.score, token.low, token.high)
    ]
    metrics = [
        _metric(METRIC, [token.score, token.low, token.high], token.n),
        _metric("word_perplexity", per_word, token.n),
    ]
    return SuiteResult(
        suite=suite.name,
        suite_title=suite.title,
        limit=limit,
        n=len(answers),
        errors=0,
        empty=0,
        unparseable=0,
        metrics=metrics,
        answers=answers,
    )


def _metric(name: str, values: list[float], count: int) -> MetricScore:
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
        primary=name == METRIC,
        statistic="perplexity",
    )
