"""Data sets of picture suites: folders on disk, drawn questions, and clusters of questions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import PIL
import pyarrow

from harness.data.hub import require_saved
from harness.errors import ConfigError
from harness.store import digest
from harness.store.store import Store
from tasks.mini import suites as mini


@dataclass(frozen=True)
class LocalData:
    """Data sets on disk, each as `datasets.save_to_disk` writes it.

    Attributes:
        identity: Digest of all of them, or of what drew them.
        folders: (name of a suite, folder of its data set).
    """

    identity: str
    folders: tuple[tuple[str, Path], ...]


def local_data(folder: str, names: Sequence[str]) -> LocalData:
    """The data sets of these suites in `folder`, one folder for each.

    Raises:
        ConfigError: A data set is missing; names it.
    """
    root = Path(folder)
    missing = [name for name in names if not (root / name).is_dir()]
    if missing:
        raise ConfigError(
            f"suite.data={folder} has no data set {', '.join(missing)}; it needs a folder for each"
            f" of {', '.join(names)}"
        )
    for name in names:
        require_saved(root / name, f"suite.data={folder}")
    states = {
        name: {
            str(path.relative_to(root)): digest.of_file(path)
            for path in sorted((root / name).rglob("*.json"))
        }
        for name in names
    }
    return LocalData(digest.of_value(states), tuple((name, root / name) for name in names))


def mini_data(store: Store, names: Sequence[str], seed: int = mini.SEED) -> LocalData:
    """The data of mini suites, each drawn into the store on first use.

    Args:
        store: Where it is stored.
        names: Of suites; those that do not exist get a folder that does not exist.
        seed: Of the questions.
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
            with store.create("data", key) as folder:
                mini.suite_dataset(suite, seed=seed).save_to_disk(folder)
        folders.append((name, store.path("data", key)))
    return LocalData(digest.of_value(recipe), tuple(folders))


def clusters_of(name: str, task: Any, metadata: Mapping[str, Any]) -> list[str]:
    """The cluster of each question.

    Args:
        name: Of the suite, for the error.
        task: An lmms-eval task.
        metadata: Of its YAML: `cluster_picture` names a column of pictures; else `cluster` names a
            column, of whose numbers `cluster_modulo`, if it is given, takes the remainder.

    Raises:
        ConfigError: The data has no such column, or one of other values.
    """
    column = metadata.get("cluster_picture", metadata.get("cluster"))
    docs = task.eval_docs_no_media
    if "cluster_picture" in metadata:
        docs = task.eval_docs
    if column not in docs.column_names:
        raise ConfigError(
            f"task {name}: its data has no column {column!r} to cluster by; it has"
            f" {', '.join(docs.column_names)}"
        )
    if "cluster_picture" in metadata:
        return _picture_digests(name, docs, column)
    modulo = metadata.get("cluster_modulo")
    values = list(docs[column])
    try:
        return [
            _alone(row) if value is None else str(int(value) % modulo if modulo else value)
            for row, value in enumerate(values)
        ]
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"task {name}: its data is clustered by the number in column {column!r}: {error}"
        ) from error


def _alone(row: int) -> str:
    """The cluster of a row that has nothing to share."""
    return f"row {row}"


def _picture_digests(name: str, docs: Any, column: str) -> list[str]:
    """Digests of the files of pictures, which are not decoded.

    Raises:
        ConfigError: The column has something else.
    """
    try:
        files = docs.select_columns([column]).cast_column(column, datasets.Image(decode=False))
    except (TypeError, ValueError, pyarrow.ArrowException) as error:
        raise ConfigError(
            f"task {name}: column {column!r} of its data is {docs.features[column]}; it needs one"
            f" picture a row: {error}"
        ) from error
    return [
        hashlib.sha256(file["bytes"] or str(file["path"]).encode()).hexdigest()[:16]
        if (file := entry[column]) is not None
        else _alone(row)
        for row, entry in enumerate(files)
    ]
