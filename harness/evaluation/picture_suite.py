"""One variant on one suite: lmms-eval asks and scores, every answer is kept, every score gets an
interval.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import PIL
import PIL.Image
from lmms_eval.evaluator import evaluate as lmms_evaluate
from lmms_eval.tasks import TaskManager, get_task_dict

from harness import __version__, distributed
from harness.data.hub import reachable
from harness.errors import CellError, ConfigError
from harness.evaluation.lmms_model import LuqModel
from harness.evaluation.thumbnails import keep_pictures
from harness.paths import TASKS
from harness.store import digest
from harness.store.store import AnswerLog, Store, safe_name
from reports.records.results import Answer, MetricScore, Status, SuiteResult, to_json
from reports.statistics.estimate import Judged, estimate
from tasks.mini import suites as mini

RESULT_FILE = "result.json"
SCORER_VERSION = 1  # raise it whenever the same answers would get other scores or intervals
_PARSEABLE: dict[str, Callable[[str], bool]] = {
    "yes_no": lambda text: re.fullmatch(r"(yes|no)\W*", text.strip().lower()) is not None,
    "option": lambda text: re.match(r"\(?[A-E]\b", text.strip()) is not None,
    "number": lambda text: re.search(r"\d", text) is not None,
    "free": lambda text: True,
}


@dataclass(frozen=True)
class Suite:
    """A loaded lmms-eval task and what its YAML says of it under `metadata`.

    clusters: of each question, what it shares a picture with. answers: kind of answer, by which
    "unparseable" is judged. data: digest. submission: what of each sample goes into a file for an
    official server, or "".
    """

    name: str
    title: str
    task: Any
    clusters: list[str]
    answers: str
    metrics: Mapping[str, Mapping[str, Any]]
    data: str
    submission: str = ""

    def whole_groups(self, limit: int | None) -> int:
        """The smallest number of questions, at least `limit`, that cuts no pair or circular group."""
        count = len(self.clusters) if limit is None else min(limit, len(self.clusters))
        while count < len(self.clusters) and self.clusters[count] == self.clusters[count - 1]:
            count += 1
        return count


@dataclass(frozen=True)
class LocalData:
    """Data sets on disk, one folder a suite. identity: digest of what drew them."""

    identity: str
    folders: tuple[tuple[str, Path], ...]


@functools.lru_cache(maxsize=2)
def load_suites(
    folder: str,
    names: tuple[str, ...],
    family: str,
    data: LocalData | None,
    split: str | None = None,
) -> dict[str, Suite]:
    """Tasks of one folder under `tasks`. data: what replaces the YAMLs' paths. split: of the data,
    instead of the one that is reported.

    Raises ConfigError for unknown names, listing the known ones.
    """
    folders = sorted(path.name for path in TASKS.iterdir() if any(path.glob("*.yaml")))
    if (
        folder not in folders
    ):  # task files may name functions to run: only those that come with the harness are read
        raise ConfigError(f"suite.folder is {folder!r}; choose one of {', '.join(folders)}")
    manager = TaskManager(
        include_path=str(TASKS / folder), include_defaults=False, model_name=family
    )
    unknown = sorted(set(names) - set(manager.all_tasks))
    if unknown:
        raise ConfigError(
            f"unknown suite {', '.join(unknown)}; tasks/{folder} has"
            f" {', '.join(sorted(manager.all_tasks))}"
        )
    paths = {} if data is None else dict(data.folders)
    found: dict[str, Suite] = {}
    for name in names:
        config: dict[str, Any] = {"task": name}
        if data is not None:
            config |= {
                "dataset_path": str(paths[name]),
                "dataset_name": None,
                "dataset_kwargs": {"load_from_disk": True},
            }
        if split is not None:
            config["test_split"] = split
        with reachable(f"suite {name}", "give its data as suite.data=FOLDER"):
            task = _task(config, manager)
        found[name] = _describe(name, task, data)
    return found


def _task(config: dict[str, Any], manager: TaskManager) -> Any:
    name = config["task"]
    try:
        return get_task_dict([{**config}], manager)[name]
    except (
        PIL.UnidentifiedImageError,
        PIL.Image.DecompressionBombError,
    ) as error:  # lmms-eval looks at the first picture
        raise ConfigError(
            f"suite {name}: the first picture of its data cannot be read: {error}. Repair the"
            " data set"
        ) from error


def _describe(name: str, task: Any, data: LocalData | None) -> Suite:
    meta = dict(task.config.metadata or {})
    needed = {"answers", "metrics", "title"} | (set() if "cluster_picture" in meta else {"cluster"})
    if missing := needed - set(meta):
        raise ConfigError(
            f"task {name} lacks {', '.join(sorted(missing))} under `metadata` in its YAML; see"
            " tasks/mini for examples"
        )
    docs = task.eval_docs_no_media
    clusters = (
        _same_picture(task.eval_docs, meta["cluster_picture"])
        if "cluster_picture" in meta
        else _clusters(name, docs, meta)
    )
    identity = data.identity if data is not None else str(docs._fingerprint)
    return Suite(
        name,
        meta["title"],
        task,
        clusters,
        meta["answers"],
        meta["metrics"],
        f"{identity}-{meta['version']}",
        meta.get("submission", ""),
    )


def _clusters(name: str, docs: Any, meta: Mapping[str, Any]) -> list[str]:
    if meta["cluster"] not in docs.column_names:
        raise ConfigError(
            f"task {name}: its data has no column {meta['cluster']!r} to cluster by; it has"
            f" {', '.join(docs.column_names)}"
        )
    modulo = meta.get("cluster_modulo")
    return [str(int(value) % modulo if modulo else value) for value in docs[meta["cluster"]]]


def _same_picture(docs: Any, column: str) -> list[str]:
    """Clusters of a data set that numbers no pictures: by the digest of each picture's file, which
    is not decoded.
    """
    files = docs.select_columns([column]).cast_column(column, datasets.Image(decode=False))
    return [
        hashlib.sha256(row[column]["bytes"] or str(row[column]["path"]).encode()).hexdigest()[:16]
        for row in files
    ]


def local_data(folder: str, names: Sequence[str]) -> LocalData:
    """Data sets that `datasets.save_to_disk` wrote, one below `folder` for each task.

    Raises ConfigError that names what is missing.
    """
    root = Path(folder)
    missing = [name for name in names if not (root / name).is_dir()]
    if missing:
        raise ConfigError(
            f"suite.data={folder} has no data set {', '.join(missing)}; it needs a folder for each"
            f" of {', '.join(names)}"
        )
    states = {
        name: {
            str(p.relative_to(root)): digest.of_file(p)
            for p in sorted((root / name).rglob("*.json"))
        }
        for name in names
    }
    return LocalData(digest.of_value(states), tuple((name, root / name) for name in names))


def mini_data(store: Store, names: Sequence[str], seed: int = mini.SEED) -> LocalData:
    """The mini suites of these names, each drawn into the store on first use.

    Names that the mini folder does not have are left out.
    """
    recipe = {
        "seed": seed,
        "questions": mini.QUESTIONS,
        "version": mini.VERSION,
        "pillow": PIL.__version__,
    }
    folders = []
    for name in names:
        suite = name.removeprefix("mini_")
        key = digest.of_value({**recipe, "suite": suite})
        if suite in mini.SUITES and not store.has("data", key):
            datasets.disable_progress_bars()
            with store.creating("data", key) as folder:
                mini.suite_dataset(suite, seed=seed).save_to_disk(folder)
        folders.append((name, store.path("data", key)))
    return LocalData(digest.of_value(recipe), tuple(folders))


def result_key(variant: str, lm: LuqModel, suite: Suite, count: int) -> str:
    """Digest of everything a score depends on."""
    return digest.of_value([*_answers_parts(variant, lm, suite), count, SCORER_VERSION])


def _answers_parts(variant: str, lm: LuqModel, suite: Suite) -> list[Any]:
    config = suite.task.config
    return [
        variant,
        suite.name,
        suite.data,
        dict(config.generation_kwargs),
        lm.batch_size,
        lm.loaded.dtype,
        str(lm.device.type),
        __version__,
    ]


def load_result(store: Store, key: str) -> SuiteResult | None:
    """A stored result; None where it is absent, or damaged and set aside."""
    return store.load_entry("results", key, RESULT_FILE, SuiteResult)


def evaluate_suite(
    store: Store,
    lm: LuqModel,
    suite: Suite,
    *,
    variant: str,
    limit: int | None,
    max_error_share: float,
) -> tuple[str, SuiteResult]:
    """(key, result) of the variant whose weights are in the model.

    Questions answered earlier are not asked again.

    Raises CellError when more than `max_error_share` of the questions raised, or when lmms-eval's
    score and ours disagree.
    """
    count = suite.whole_groups(limit)
    key = result_key(variant, lm, suite, count)
    with store.claimed("results", key):
        found = load_result(store, key)
        return key, (
            found
            if found is not None
            else _asked(store, lm, suite, variant, limit, count, key, max_error_share)
        )


def _asked(
    store: Store,
    lm: LuqModel,
    suite: Suite,
    variant: str,
    limit: int | None,
    count: int,
    key: str,
    max_error_share: float,
) -> SuiteResult:
    lm.log = AnswerLog(store, digest.of_value(_answers_parts(variant, lm, suite)))
    lm.task_dict, lm.data = {suite.name: suite.task.dataset}, suite.data
    arguments = argparse.Namespace(process_with_media=False, output_path=None, reasoning_tags=None)
    distributed.gathered(None)  # joined before the others are hidden
    with (
        distributed.unseen(),
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
    if len(lm.errors) > max_error_share * count:
        first = next(iter(lm.errors.values()))
        raise CellError(
            f"{suite.title}: {len(lm.errors)} of {count} questions raised an error, the first:"
            f" {first}. No score is given"
        )
    samples = output["samples"][suite.name]
    answers = [_answer(lm, suite, sample) for sample in samples]
    metrics = [
        _metric(suite, name, samples, output["results"][suite.name]) for name in suite.metrics
    ]
    statuses = [a.status for a in answers]
    result = SuiteResult(
        suite=suite.name,
        suite_title=suite.title,
        limit=limit,
        n=len(answers),
        errors=statuses.count("error"),
        empty=statuses.count("empty"),
        unparseable=statuses.count("unparseable"),
        metrics=metrics,
        answers=answers,
        data_errors=statuses.count("data_error"),
        batch_size=lm.smallest_batch or lm.batch_size,
        pictures=keep_pictures(store, suite, count),
    )
    if suite.submission:
        rows = [sample[suite.submission] for sample in samples]
        store.write_file(
            store.root / "submissions" / f"{safe_name(suite.name)}-{variant[:8]}.json",
            json.dumps(rows),
        )
    with store.creating("results", key) as folder:
        (folder / RESULT_FILE).write_text(to_json(result))
    return result


def _answer(lm: LuqModel, suite: Suite, sample: Mapping[str, Any]) -> Answer:
    response = str(sample["filtered_resps"][0])
    place = (suite.name, sample["doc_id"])
    status: Status = "answered"
    if place in lm.data_errors:
        status = "data_error"
    elif lm.questions[place] in lm.errors:
        status = "error"
    elif not response.strip():
        status = "empty"
    elif not _PARSEABLE[suite.answers](response):
        status = "unparseable"
    target = sample["target"]
    judged = {name: j for name in suite.metrics if (j := _judged(suite, name, sample)) is not None}
    # The metric that groups answers says the most about this one.
    verdict = max(judged.values(), key=lambda j: len(j.group), default=Judged("", 0.0))
    return Answer(
        question_id=str(sample["doc_id"]),
        cluster=suite.clusters[sample["doc_id"]],
        prompt=str(sample["arguments"][0]),
        target=(
            ", ".join(map(str, dict.fromkeys(target))) if isinstance(target, list) else str(target)
        ),
        response=response,
        status=status,
        scores={name: j.score for name, j in judged.items()},
        group=verdict.group,
        gold=verdict.gold,
        said=verdict.said,
        parsed=verdict.parsed,
    )


def _judged(suite: Suite, metric: str, sample: Mapping[str, Any]) -> Judged | None:
    """lmms-eval's judgement of one answer under one metric, None where the metric does not apply to
    the question.
    """
    value = sample.get(metric)
    if value is None:
        return None
    cluster = suite.clusters[sample["doc_id"]]
    if not isinstance(value, Mapping):
        return Judged(cluster, float(value))
    group = (
        str(value.get("category", value.get("split", "")))
        if suite.metrics[metric]["statistic"] != "circular"
        else ""
    )
    score = float(value["score"] if "score" in value else value["correct"])
    said = value.get("prediction")
    return Judged(
        cluster,
        score,
        group,
        gold=value.get("ground_truth") == "yes",
        said=said == "yes",
        parsed=said in ("yes", "no"),
    )


def _metric(
    suite: Suite, name: str, samples: list[Mapping[str, Any]], reported: Mapping[str, Any]
) -> MetricScore:
    """Score and interval; the score must be the one that lmms-eval reports.

    No question for a metric: no score.
    """
    primary = bool(suite.metrics[name].get("primary", False))
    judged = [j for sample in samples if (j := _judged(suite, name, sample)) is not None]
    if not judged:
        return MetricScore(
            metric=name, score=None, ci_low=None, ci_high=None, n=0, maximum=1.0, primary=primary
        )
    found = estimate(suite.metrics[name]["statistic"], judged)
    theirs = float(reported[f"{name},none"])
    if abs(theirs - found.score) > 1e-6 * found.maximum:
        raise CellError(
            f"{suite.title}: lmms-eval reports {name} = {theirs}, the answers give {found.score};"
            " the task's metadata.metrics is wrong"
        )
    return MetricScore(
        metric=name,
        score=found.score,
        ci_low=found.low,
        ci_high=found.high,
        n=found.n,
        maximum=found.maximum,
        primary=primary,
        statistic=suite.metrics[name]["statistic"],
    )
