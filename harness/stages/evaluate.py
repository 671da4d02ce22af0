"""stage=evaluate: quantize the variants of a job and evaluate them on its suites."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness import distributed
from harness.config.schema import Config
from harness.errors import CellError
from harness.evaluation.leakage import refuse_overlap
from harness.evaluation.registry import open_suites
from harness.evaluation.suite import EvaluationContext, Suite
from harness.failures import require_of_a_cell
from harness.models.load import LoadedModel, load_without_weights
from harness.progress import ALREADY, Progress
from harness.stages.base import Job, Outcome, each_k
from harness.stages.cells import (
    cell_key,
    cell_label,
    complete_cell,
    fill_cell,
    lasting_failure,
    record_failure,
    scores_text,
    unopened_key,
    variant_name,
)
from harness.stages.registry import find_stage
from harness.store.store import Store
from harness.trackers.guarded import tracked
from harness.trackers.values import cell_scalars, layer_table
from harness.variants.calibration_run import CalibrationRun, open_model, open_run
from harness.variants.quantizers import uses_calibration
from harness.variants.variant import Variant, describe, make_variant
from luq.decoder.apply import applied
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
    config, store = job.config, Store(Path(job.config.store))
    loaded.prepared.features.attach(
        store, f"{loaded.digest}-{loaded.dtype}", int(config.model.features_gib * 2**30)
    )
    try:
        suites = open_suites(config, loaded, store)
    except CellError as error:
        if len(config.suite.tasks) > 1:  # the others can be evaluated
            alone = [on_task(job, task) for task in config.suite.tasks]
            return sum((_evaluate(one, loaded, progress) for one in alone), Outcome())
        return fail_unopened(job, error, progress)
    keys = {name: cell_key(config, loaded, suite) for name, suite in suites.items()}
    before = {
        name: found
        for name, suite in suites.items()
        if (found := _before(job, store, suite, keys[name])) is not None
    }
    todo = distributed.gather([name for name in suites if name not in before])[0]
    total = Outcome()
    for name, (outcome, words) in before.items():
        if name not in todo:
            progress.finish_cell(cell_label(config, suites[name]), words)
            total += outcome
    if not todo:
        return total
    with store.running("cells", [keys[name] for name in todo]) as finished:
        cells = {keys[name]: suites[name] for name in todo}
        return total + _Filling(job, store, loaded, cells, progress, finished).run()


def on_task(job: Job, task: str) -> Job:
    """The job on one of its suites."""
    return replace(job, config=replace(job.config, suite=replace(job.config.suite, tasks=[task])))


def _before(job: Job, store: Store, suite: Suite, key: str) -> tuple[Outcome, str] | None:
    """What came of a cell before, and that in words; None where it has to be filled."""
    try:
        row = complete_cell(store, key, suite, job.config)
    except (Exception, SystemExit) as error:  # noqa: BLE001 (of a scorer: told where it is filled)
        require_of_a_cell(error)
        row = None
    if row is not None:
        return Outcome(rows=(row,)), ALREADY
    failure = None if job.config.retry_failed else lasting_failure(store, key)
    if failure is None:
        return None
    words = (
        f"FAILED before: {failure.error}. It would again, since neither its code nor its data have"
        " changed; retry_failed=true tries nevertheless"
    )
    reason = f"{cell_label(job.config, suite)}: {failure.error}"
    return Outcome(failed=1, reasons=(reason,)), words


@dataclass(frozen=True)
class _Filling:
    """The cells of one variant that are not complete.

    Attributes:
        cells: Suite by the key of its cell.
        finished: Called with the key of each cell that is done with.
    """

    job: Job
    store: Store
    loaded: LoadedModel
    cells: Mapping[str, Suite]
    progress: Progress
    finished: Callable[[str], None]

    def run(self) -> Outcome:
        """Quantize the variant and fill its cells."""
        config, loaded = self.job.config, self.loaded
        self.progress.step(f"quantizing {config.method.name}")
        left, total = dict(self.cells), Outcome()
        try:
            variant, blocks, context = self._quantize()
            with (
                tracked(config, "evaluate", variant_name(config), self.job.sweep) as tracker,
                applied(loaded.model, loaded.family, variant.weights, packed=loaded.streamed),
            ):
                for number, (key, suite) in enumerate(self.cells.items()):
                    outcome = self._fill(key, suite, variant, blocks, context)
                    del left[key]
                    for row in outcome.rows:
                        tracker.scalars(cell_scalars(row.cell, row.result))
                        if number == 0:
                            tracker.table("blocks", *layer_table(row.cell))
                    total += outcome
                    self.finished(key)
        except (Exception, SystemExit) as error:  # noqa: BLE001 (of a quantizer, say, or of packed weights)
            for key, suite in left.items():
                total += self._fail(key, suite, error)
        return total

    def _fill(
        self,
        key: str,
        suite: Suite,
        variant: Variant,
        blocks: list[Block],
        context: EvaluationContext,
    ) -> Outcome:
        label = cell_label(self.job.config, suite)
        self.progress.start_cell(label, suite.whole_groups(self.job.config.limit))
        try:
            with self.store.claim("cells", key):
                row = fill_cell(context, self.job, suite, variant, blocks, key)
        except (Exception, SystemExit) as error:  # noqa: BLE001 (of data, pictures, scorers)
            return self._fail(key, suite, error)
        self.progress.finish_cell(label, f"done, {scores_text(row.result)}")
        return Outcome(rows=(row,))

    def _quantize(self) -> tuple[Variant, list[Block], EvaluationContext]:
        config = self.job.config
        with distributed.rank_zero_first():
            calibration_run = open_run(config, self.progress)
            if uses_calibration(config.method):
                refuse_overlap(config.calibration, self.cells.values())
            variant = make_variant(calibration_run, config.method, config.entropy, config.workers)
            blocks = describe(calibration_run, variant, config.method, config.entropy)
            context = evaluation_context(config, calibration_run)
        return variant, blocks, context

    def _fail(self, key: str, suite: Suite, error: BaseException) -> Outcome:
        require_of_a_cell(error)
        label = cell_label(self.job.config, suite)
        return _failed(
            label, record_failure(self.store, key, self.job, suite.name, error), self.progress
        )


def fail_unopened(job: Job, error: BaseException, progress: Progress) -> Outcome:
    """Record that none of a job's cells could be filled, as its model or a suite was not there."""
    store, total = Store(Path(job.config.store)), Outcome()
    for task in job.config.suite.tasks:
        why = record_failure(store, unopened_key(job.config, task), job, task, error)
        total += _failed(f"{variant_name(job.config)} on {task}", why, progress)
    return total


def _failed(label: str, why: str, progress: Progress) -> Outcome:
    progress.finish_cell(label, f"FAILED: {why}")
    return Outcome(failed=1, reasons=(f"{label}: {why}",))


def evaluation_context(config: Config, calibration_run: CalibrationRun) -> EvaluationContext:
    """How suites are evaluated on a variant of this configuration."""
    context = EvaluationContext(
        store=calibration_run.store,
        loaded=calibration_run.loaded,
        batch_size=config.suite.batch_size or config.batch_size,
        max_error_share=config.max_error_share,
        on_progress=calibration_run.progress.advance,
    )
    if not uses_calibration(config.method):
        return context
    return replace(context, calibration_pictures=calibration_run.calibration_pictures())


def look_at_model(config: Config) -> LoadedModel:
    """What has to be known of the model in a process that may leave the work to others.

    Its weights are loaded only where this process needs them anyway.
    """
    model = config.model
    if config.launcher.name == "local" and find_stage(config.stage).once == "job":
        return open_model(config)
    return load_without_weights(model.name, model.path, model.dtype, model.revision)
