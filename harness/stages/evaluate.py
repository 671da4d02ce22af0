"""stage=evaluate: quantize the variants of a job and evaluate them on its suites."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import distributed
from harness.config.schema import Config
from harness.errors import CellError, ConfigError
from harness.evaluation.leakage import refuse_leakage
from harness.evaluation.lmms_model import LuqModel
from harness.evaluation.picture_suite import (
    LocalData,
    Suite,
    load_suites,
    local_data,
    mini_data,
)
from harness.evaluation.text_suite import TextSuite, load_text_suites
from harness.models.load import LoadedModel, load_without_weights, load_model
from harness.models.processors import TextProcessor
from harness.progress import ALREADY, Progress
from harness.stages.base import Job, Outcome, each_k
from harness.stages.cells import (
    cell_key,
    cell_label,
    complete_cell,
    fill_cell,
    record_failure,
    scores_text,
    variant_name,
)
from harness.store.store import Store
from harness.trackers.guarded import cell_scalars, layer_table, tracked
from harness.variants.calibration_run import open_run
from harness.variants.quantizers import uses_calibration
from harness.variants.variant import Variant, describe, make_variant
from luq.decoder.apply import applied
from luq.types import QuantizationError
from reports.records.results import Block


def run(jobs: Sequence[Job], progress: Progress) -> Outcome:
    """Fill the cells of every variant of these jobs.

    Cells that are complete are neither quantized nor evaluated again.
    """
    total = Outcome()
    for job in jobs:
        progress.step("loading the model")
        loaded = open_model(job.config)
        for one in each_k(job, len(loaded.blocks)):
            total += _evaluate(one, loaded, progress)
    return total


def _evaluate(job: Job, loaded: LoadedModel, progress: Progress) -> Outcome:
    config = job.config
    store = Store(Path(config.store))
    loaded.prepared.features.attach(
        store, f"{loaded.digest}-{loaded.dtype}", int(config.model.features_gib * 2**30)
    )
    suites = open_suites(config, loaded, store)
    lm = LuqModel(loaded=loaded, batch_size=config.suite.batch_size or config.batch_size)
    lm.on_progress = progress.advance
    keys = {name: cell_key(config, loaded, suite) for name, suite in suites.items()}
    stored = {name: cell for name in suites if (cell := complete_cell(store, keys[name]))}
    todo = distributed.gathered([name for name in suites if name not in stored])[0]
    for name in suites:
        if name not in todo:
            progress.finish_cell(cell_label(config, suites[name]), ALREADY)
    complete = Outcome(rows=tuple(stored.values()))
    if not todo:
        return complete
    with store.running("cells", [keys[name] for name in todo]) as finished:
        cells = {name: (keys[name], suites[name]) for name in todo}
        return complete + _Filling(job, lm, store, cells, progress, finished).run()


@dataclass(frozen=True)
class _Filling:
    """The cells of one variant that are not complete.

    Attributes:
        cells: (key, suite) by the suite's name.
        finished: Called with the key of each cell that is done with.
    """

    job: Job
    lm: LuqModel
    store: Store
    cells: Mapping[str, tuple[str, Suite | TextSuite]]
    progress: Progress
    finished: Callable[[str], None]

    def run(self) -> Outcome:
        """Quantize the variant and fill its cells."""
        config, loaded = self.job.config, self.lm.loaded
        self.progress.step(f"quantizing {config.method.name}")
        try:
            variant, blocks = self._quantize()
        except QuantizationError as error:
            return sum(
                (self._fail(name, key, suite, error) for name, (key, suite) in self.cells.items()),
                Outcome(),
            )
        total = Outcome()
        with (
            tracked(config, "evaluate", variant_name(config), self.job.sweep) as tracker,
            applied(loaded.model, loaded.family, variant.weights, packed=loaded.streamed),
        ):
            for name, (key, suite) in self.cells.items():
                label = cell_label(config, suite)
                self.progress.start_cell(label, suite.whole_groups(config.limit))
                try:
                    with self.store.claim("cells", key):
                        row = fill_cell(self.store, self.lm, self.job, suite, variant, blocks, key)
                except (CellError, QuantizationError) as error:
                    total += self._fail(name, key, suite, error)
                else:
                    tracker.scalars(cell_scalars(row.cell, row.result))
                    if name == next(iter(self.cells)):
                        tracker.table("blocks", *layer_table(row.cell))
                    self.progress.finish_cell(label, f"done, {scores_text(row.result)}")
                    total += Outcome(rows=(row,))
                self.finished(key)
        return total

    def _quantize(self) -> tuple[Variant, list[Block]]:
        config = self.job.config
        with distributed.first_alone():
            bench = open_run(config, self.progress)
            if uses_calibration(config.method):
                suites = {name: suite for name, (_, suite) in self.cells.items()}
                refuse_leakage(config.calibration, suites)
            variant = make_variant(bench, config.method, config.entropy, config.workers)
            blocks = describe(bench, variant, config.method, config.entropy)
            self.lm.calibration_pictures = (
                bench.calibration_pictures() if uses_calibration(config.method) else frozenset()
            )
        return variant, blocks

    def _fail(self, name: str, key: str, suite: Suite | TextSuite, error: Exception) -> Outcome:
        record_failure(self.store, key, self.job, name, str(error))
        label = cell_label(self.job.config, suite)
        self.progress.finish_cell(label, f"FAILED: {error}")
        return Outcome(failed=1, reasons=(f"{label}: {error}",))


def open_model(config: Config) -> LoadedModel:
    """The model of a configuration, with its weights."""
    model = config.model
    return load_model(
        model.name,
        model.path,
        model.dtype,
        model.device,
        model.revision,
        streamed=model.memory == "streamed",
    )


def look_at_model(config: Config) -> LoadedModel:
    """What has to be known of the model, in a process that may leave the work to others: its
    weights are loaded only where this one needs them anyway.
    """
    model = config.model
    if config.launcher.name == "local" and config.stage != "status":
        return open_model(config)
    return load_without_weights(model.name, model.path, model.dtype, model.revision)


def open_variant(config: Config) -> tuple[LoadedModel, Variant]:
    """The base model and a variant of it, for lmms-eval's own command line."""
    run = open_run(config)
    return run.loaded, make_variant(run, config.method, config.entropy, config.workers)


def open_suites(
    config: Config, loaded: LoadedModel, store: Store
) -> Mapping[str, Suite | TextSuite]:
    """The suites of a configuration.

    Raises ConfigError for a suite of pictures and a language model.
    """
    settings = config.suite
    if settings.folder == "text":
        return load_text_suites(
            loaded,
            settings.tasks,
            settings.data,
            settings.window,
            settings.batch_size or config.batch_size,
        )
    if isinstance(loaded.processor, TextProcessor):
        raise ConfigError(
            f"{loaded.name} is a language model and {settings.name} asks about pictures; choose"
            " suite=wikitext2"
        )
    if settings.folder == "mini":
        data: LocalData | None = mini_data(store, settings.tasks)
    else:
        data = local_data(settings.data, settings.tasks) if settings.data else None
    return load_suites(config.suite.folder, tuple(config.suite.tasks), loaded.family.name, data)
