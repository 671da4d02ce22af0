"""Tasks of lmms-eval, loaded with what their YAML says for our statistics."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import PIL
import PIL.Image
from lmms_eval.tasks import TaskManager, get_task_dict

from harness.data.hub import hub_errors, use_writable_cache
from harness.data.picture_formats import restrict_pictures
from harness.errors import ConfigError
from harness.evaluation.pictures.data import LocalData, clusters_of
from harness.evaluation.suite import Metric
from harness.paths import TASKS
from reports.statistics.registry import find_statistic

Reading = Callable[[str, Mapping[str, Any]], object]


def read_as_it_is(response: str, _doc: Mapping[str, Any]) -> object:
    """What a scorer that compares texts reads in an answer: all of it."""
    return response


@dataclass(frozen=True, kw_only=True)
class PictureTask:
    """A task of lmms-eval, with what its YAML says under `metadata`.

    Attributes:
        name: Of the task.
        title: In tables and figures.
        task: lmms-eval's object.
        clusters: For each question, the picture, pair or circular group that it belongs to.
        reading: What the scorer reads in an answer to a row of the data, None where it can read
            nothing.
        metrics: The scores by name.
        data: Digest of the questions and pictures.
        submission: The part of each sample that goes into a file for an official server, or "".
    """

    name: str
    title: str
    task: Any
    clusters: list[str]
    reading: Reading
    metrics: Mapping[str, Metric]
    data: str
    submission: str

    def whole_groups(self, limit: int | None) -> int:
        """The smallest number of questions, at least `limit`, that cuts no cluster; None: all."""
        total = len(self.clusters)
        count = total if limit is None else min(limit, total)
        while count < total and self.clusters[count] == self.clusters[count - 1]:
            count += 1
        return count


def load_tasks(
    folder: str | Path,
    names: tuple[str, ...],
    family: str,
    data: LocalData | None,
    split: str | None,
) -> dict[str, PictureTask]:
    """Tasks by name; see `harness.evaluation.pictures.suite.load_suites`."""
    manager = TaskManager(
        include_path=str(TASKS / folder), include_defaults=False, model_name=family
    )
    if unknown := sorted(set(names) - set(manager.all_tasks)):
        raise ConfigError(
            f"unknown suite {', '.join(unknown)}; {_shown(folder)} has"
            f" {', '.join(sorted(manager.all_tasks))}"
        )
    restrict_pictures()
    use_writable_cache()
    paths = {} if data is None else dict(data.folders)
    tasks: dict[str, PictureTask] = {}
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
        on_hub = hub_errors(f"suite {name}", "give its data as suite.data=FOLDER")
        with on_hub if data is None else contextlib.nullcontext():
            task = _load_task(config, manager)
        tasks[name] = _described(name, task, data)
    return tasks


def _shown(folder: str | Path) -> str:
    return str(folder) if isinstance(folder, Path) else f"tasks/{folder}"


def _load_task(config: dict[str, Any], manager: TaskManager) -> Any:
    name = config["task"]
    try:
        return get_task_dict([{**config}], manager)[name]
    except (  # lmms-eval looks at the first picture
        PIL.UnidentifiedImageError,
        PIL.Image.DecompressionBombError,
    ) as error:
        raise ConfigError(
            f"suite {name}: the first picture of its data cannot be read: {error}. Repair the"
            " data set"
        ) from error


def _described(name: str, task: Any, data: LocalData | None) -> PictureTask:
    metadata = dict(task.config.metadata or {})
    needed = {"metrics", "title", "version"}
    needed |= set() if "cluster_picture" in metadata else {"cluster"}
    if missing := needed - set(metadata):
        raise ConfigError(
            f"task {name} lacks {', '.join(sorted(missing))} under `metadata` in its YAML; see"
            " tasks/mini for examples"
        )
    reading = metadata.get("reading", read_as_it_is)
    if not callable(reading):
        raise ConfigError(
            f"task {name}: metadata.reading is {reading!r}; name the function with which its scorer"
            " reads an answer, as !function FILE.NAME"
        )
    metrics = {
        metric: _metric(name, metric, options) for metric, options in metadata["metrics"].items()
    }
    identity = task.eval_docs_no_media._fingerprint if data is None else data.identity
    return PictureTask(
        name=name,
        title=metadata["title"],
        task=task,
        clusters=clusters_of(name, task, metadata),
        reading=reading,
        metrics=metrics,
        data=f"{identity}-{metadata['version']}",
        submission=metadata.get("submission", ""),
    )


def _metric(name: str, metric: str, options: Mapping[str, Any]) -> Metric:
    try:
        find_statistic(options["statistic"])
    except (KeyError, ValueError) as error:
        raise ConfigError(f"task {name}: metadata.metrics.{metric}: {error}") from error
    rules = options.get("rules", 0)
    if not isinstance(rules, int) or rules < 0:
        raise ConfigError(
            f"task {name}: metadata.metrics.{metric}.rules is {rules!r}; give a number from 0"
        )
    return Metric(options["statistic"], bool(options.get("primary", False)), rules)
