"""The log of answers of one variant on one suite: an interruption loses at most one batch."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loguru import logger

from harness.store import digest
from harness.store.atomic import read_patiently, store_errors
from harness.store.store import Store
from reports.records.sealed_json import strict_json


class AnswerLog:
    """Answers by question, one file a batch, each file complete or absent.

    Several processes may append at once. A damaged file is set aside, and its questions are
    answered again.

    Args:
        store: Where the log is.
        key: Digest of the weights, the suite and everything else that an answer depends on.

    Attributes:
        folder: Where the files are.
    """

    def __init__(self, store: Store, key: str):
        self.store, self.folder = store, store.path("answers", key)

    def load(self) -> dict[str, dict[str, Any]]:
        """All answers by question digest; damaged files are set aside.

        Raises:
            StoreError: A file cannot be read now, or a damaged one cannot be renamed.
        """
        answers: dict[str, dict[str, Any]] = {}
        left, gone = sorted(self.folder.glob("*.json")), False
        while left:
            path = left.pop(0)
            try:
                answers.update(read_patiently(functools.partial(self.read, path), str(path)))
            except FileNotFoundError:
                gone = True  # another process merged it with others, into a file that may be new
            except (OSError, ValueError, KeyError, TypeError) as error:
                logger.warning(f"{path} is damaged ({error}); its questions are asked again")
                with store_errors(self.store.root), contextlib.suppress(FileNotFoundError):
                    path.rename(path.with_suffix(".damaged"))
            if gone and not left:
                left, gone = sorted(self.folder.glob("*.json")), False
        return answers

    @staticmethod
    def read(path: Path) -> dict[str, dict[str, Any]]:
        """The answers in one file of a log.

        Raises:
            OSError: The file cannot be read.
            ValueError: The file is damaged; so may be KeyError and TypeError.
        """
        part = strict_json(path.read_text(encoding="utf-8"))
        if set(part) - {"log"} != {"answers", "sha256"}:  # a damaged "log" is no absent one
            raise ValueError(f"its keys are {', '.join(sorted(part))}")
        answers: dict[str, dict[str, Any]] = part["answers"]
        if digest.of_value(answers) != part["sha256"]:
            raise ValueError("its digest does not fit")
        log = part.get("log", path.parent.name)  # version 0.1 did not write whose answers they are
        if log != path.parent.name:
            raise ValueError(f"it was written for the log {log}")
        return answers

    def append(self, answers: Mapping[str, Mapping[str, Any]]) -> Path:
        """Add a batch of answers by question digest.

        Returns:
            The file, named by its questions.

        Raises:
            StoreError: The file cannot be written.
        """
        part = {"log": self.folder.name, "answers": answers, "sha256": digest.of_value(answers)}
        name = digest.of_value(sorted(answers))
        path = self.folder / f"{name}.json"
        self.store.write_file(path, json.dumps(part, allow_nan=False))
        return path

    def compact(self, answers: Mapping[str, Mapping[str, Any]]) -> None:
        """Join all files into one, once a suite is complete.

        Only files whose answers are all in the file that was just written are removed, so that a
        kill at any step, or a process that appends meanwhile, loses nothing.

        Args:
            answers: Answers that are known; those of other processes are read from the log.

        Raises:
            StoreError: The joined file cannot be written.
        """
        files: list[Path] = []  # whole ones: what cannot be read stays where it is
        joined: dict[str, Mapping[str, Any]] = {}
        for path in sorted(self.folder.glob("*.json")):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                part = self.read(path)
                joined.update(part)
                files.append(path)
        if len(files) < 2:
            return
        joined.update(answers)
        kept = self.append(joined)
        with store_errors(self.store.root):
            for path in files:
                if path != kept:
                    path.unlink(missing_ok=True)
