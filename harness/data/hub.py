"""Data sets of the Hugging Face hub, with errors that say what to do where they cannot be had."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
from datasets.exceptions import DatasetNotFoundError, DatasetsError
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError
from loguru import logger
from tenacity import RetryError

from harness.errors import ConfigError

CACHE = "LMMS_EVAL_DATASETS_CACHE"  # by which lmms-eval is told where


@contextmanager
def hub_errors(what: str, instead: str) -> Iterator[None]:
    """Turn the ways in which a data set cannot be had into a ConfigError.

    Args:
        what: What needs the data set, in words that begin the message.
        instead: What the user can do without the hub, in words that end the message.

    Raises:
        ConfigError: The data set is gated or unknown, or the hub cannot be reached.
    """
    try:
        yield
    except GatedRepoError as error:
        advice = f"Accept its terms on the hub and log in with `hf auth login`, or {instead}"
        raise ConfigError(f"{what}: the data set is gated. {advice}") from error
    except DatasetNotFoundError as error:
        raise ConfigError(
            f"{what}: {' '.join(str(error).split())} Check the name, log in with `hf auth login`,"
            f" or {instead}"
        ) from error
    except (ConnectionError, HfHubHTTPError, DatasetsError, FileNotFoundError, RetryError) as error:
        raise ConfigError(
            f"{what}: the hub cannot be reached and no copy is in the local cache"
            f" ({type(error).__name__}). Connect to the network once, or {instead}"
        ) from error


def use_writable_cache() -> None:
    """Let lmms-eval use another cache where the usual one cannot be written.

    It makes the folder for data on disk too, and a home directory may be missing or read-only.
    """
    usual = Path(datasets.config.HF_DATASETS_CACHE)
    try:
        usual.mkdir(parents=True, exist_ok=True)
    except OSError:
        pass
    else:
        if os.access(usual, os.W_OK):
            return
    instead = Path(tempfile.gettempdir()) / f"harness-datasets-{os.getuid()}"
    if CACHE not in os.environ:
        logger.warning(f"{usual} cannot be written; downloaded data sets are kept in {instead}")
        os.environ[CACHE] = str(instead)


def require_saved(folder: Path, key: str) -> None:
    """Check that a folder holds what `save_to_disk` of datasets wrote.

    Args:
        folder: Of one data set.
        key: Of the configuration that names it, for the message.

    Raises:
        ConfigError: It does not; says how to make such a folder.
    """
    if not any((folder / name).is_file() for name in ("dataset_dict.json", "state.json")):
        raise ConfigError(
            f"{key}: {folder} is no saved data set. Read its files with datasets.load_dataset(...)"
            " and write them with save_to_disk(FOLDER)"
        )


def load_hub_dataset(path: str, name: str | None, split: str, *, what: str, instead: str) -> Any:
    """One split of a data set of the hub, a `datasets.Dataset`.

    Args:
        path: Its name on the hub.
        name: Of the configuration, where it has several.
        split: Of the data set.
        what: See `hub_errors`.
        instead: See `hub_errors`.

    Raises:
        ConfigError: The data set cannot be had.
    """
    with hub_errors(f"{what} needs {path}{f' ({name})' if name else ''}, split {split}", instead):
        return datasets.load_dataset(path, name, split=split)
