"""Suites of questions about pictures: tasks of lmms-eval."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from harness.config.schema import CalibrationConfig, SuiteConfig
from harness.errors import ConfigError
from harness.evaluation.leakage import row_overlap
from harness.evaluation.lmms_model import LuqModel
from harness.evaluation.pictures.data import LocalData, local_data
from harness.evaluation.pictures.evaluation import evaluate_suite, rules_key, scored_again
from harness.evaluation.pictures.task import PictureTask, load_tasks
from harness.evaluation.suite import EvaluationContext, stored_result
from harness.models.load import LoadedModel
from harness.models.processors import TextProcessor
from harness.store.store import Store
from reports.records.results import Cell, SuiteResult


@dataclass(frozen=True, kw_only=True)
class PictureSuite(PictureTask):
    """A `Suite` that is a task of lmms-eval.

    Attributes:
        folder: Of the task files.
        family: The model's, by which lmms-eval chooses prompts.
        source: Data on disk; None for the data set that the YAML names.
    """

    folder: str | Path
    family: str
    source: LocalData | None

    def answer(
        self, context: EvaluationContext, variant: str, limit: int | None
    ) -> tuple[str, SuiteResult]:
        """Ask lmms-eval's questions; see `Suite.answer`."""
        lm = LuqModel(loaded=context.loaded, batch_size=context.batch_size)
        lm.on_progress = context.on_progress
        lm.calibration_pictures = context.calibration_pictures
        return evaluate_suite(
            context.store,
            lm,
            self,
            variant=variant,
            limit=limit,
            max_error_share=context.max_error_share,
        )

    def score_again(self, store: Store, cell: Cell, result: SuiteResult) -> tuple[str, SuiteResult]:
        """Score the recorded answers by the rules of today; see `ScoresAgain`."""
        key = rules_key(cell.result, self)
        return key, stored_result(store, key, lambda: scored_again(self, result))

    def select(self, split: str) -> PictureSuite:
        """The same task on another split of its data; see `Suite.select`."""
        if split == self.task.config.test_split:
            raise ConfigError(
                f"search.split is {split!r}, which {self.title} reports; k would be chosen by what"
                " it is judged by"
            )
        if split not in self.task.dataset:
            raise ConfigError(
                f"search.split: the data of {self.title} has no split {split!r}; it has"
                f" {', '.join(self.task.dataset)}"
            )
        return load_suites(self.folder, (self.name,), self.family, self.source, split)[self.name]

    def overlap(self, calibration: CalibrationConfig) -> str:
        """Rows that the calibration data shares with the questions; see `Suite.overlap`."""
        return row_overlap(calibration, self.name, self.task.eval_docs_no_media)


def open_suites(
    settings: SuiteConfig, loaded: LoadedModel, store: Store, seed: int
) -> dict[str, PictureSuite]:
    """Tasks of `tasks/FOLDER` on the hub's data, or on that of `suite.data`; see `OpenSuites`."""
    refuse_language_model(loaded, settings.name)
    names = tuple(settings.tasks)
    data = local_data(settings.data, names) if settings.data else None
    return load_suites(settings.folder, names, loaded.family.name, data)


def refuse_language_model(loaded: LoadedModel, suite: str) -> None:
    """Refuse a model that cannot see.

    Raises:
        ConfigError: Names the model and the suite.
    """
    if isinstance(loaded.processor, TextProcessor):
        raise ConfigError(
            f"{loaded.name} is a language model and {suite} asks about pictures; choose"
            " suite=wikitext2"
        )


@functools.lru_cache(maxsize=2)
def load_suites(
    folder: str | Path,
    names: tuple[str, ...],
    family: str,
    data: LocalData | None,
    split: str | None = None,
) -> dict[str, PictureSuite]:
    """Load tasks of lmms-eval.

    Args:
        folder: Of the task files: a name below `tasks/`, or a path. Task files name functions that
            are called: only give folders of installed packages.
        names: Of the tasks.
        family: Of the model, by which lmms-eval chooses prompts.
        data: What replaces the data sets that the YAMLs name.
        split: Of the data, instead of the one that is reported.

    Raises:
        ConfigError: A name is unknown, the data cannot be read, or the YAML lacks something.
    """
    tasks = load_tasks(folder, names, family, data, split)
    return {
        name: PictureSuite(**vars(task), folder=folder, family=family, source=data)
        for name, task in tasks.items()
    }
