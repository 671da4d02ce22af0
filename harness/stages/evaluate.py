"""The stage `evaluate` of one job: a variant on its suites."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from harness import distributed
from harness.config.schema import Config, EntropyConfig, MethodConfig
from harness.errors import CellError, ConfigError
from harness.evaluation.leakage import refuse_leakage
from harness.evaluation.lmms_model import LuqModel
from harness.evaluation.picture_suite import (
    LocalData,
    Suite,
    evaluate_suite,
    load_result,
    load_suites,
    local_data,
    mini_data,
)
from harness.evaluation.text_suite import TextSuite, evaluate_text, load_text_suites
from harness.models.load import LoadedModel, known_model, load_model
from harness.models.processors import TextProcessor
from harness.progress import ALREADY, SILENT, Progress
from harness.provenance import made_with
from harness.store import digest
from harness.store.store import Store, safe_name
from harness.trackers.guarded import cell_scalars, layer_table, tracked
from harness.variants.calibration_run import Variant, Workbench, calibrated, quantizer_name
from harness.variants.export import export_model
from luq.decoder.apply import applied
from luq.types import QuantizationError
from reports.records.results import Block, Cell, Failure, SuiteResult, to_json
from reports.report.leaderboard import bytes_text, shown_score

CELL_FILE = "cell.json"


@dataclass(frozen=True)
class Job:
    """One composed configuration, and the command that makes it alone. sweep: the sweep that it is
    part of, or "". baseline: the same with the reference method, for stage=gate.
    """

    config: Config
    command: str
    sweep: str = ""
    baseline: Config | None = None


def evaluate(job: Job, progress: Progress) -> int:
    """Fill the cells of one variant, or of one for each k that is asked for; returns how many
    failed. Cells that are complete are neither quantized nor asked again.
    """
    progress.step("loading the model")
    loaded = open_model(job.config)
    return sum(_evaluate(one, loaded, progress) for one in each_k(job, len(loaded.blocks)))


def each_k(job: Job, blocks: int) -> list[Job]:
    """The job for every k that `half`, `quarters` or `all` stands for."""
    wanted = job.config.method.k
    if isinstance(wanted, int):
        return [job]
    counts = {
        "half": [blocks / 2],
        "quarters": [blocks / 4, blocks / 2, 3 * blocks / 4],
        "all": range(blocks + 1),
    }[wanted]
    jobs = []
    for k in sorted({round(count) for count in counts}):
        config = replace(job.config, method=replace(job.config.method, k=k))
        words = [word for word in shlex.split(job.command) if not word.startswith("method.k=")]
        jobs.append(Job(config, shlex.join([*words, f"method.k={k}"]), job.sweep))
    return jobs


def _evaluate(job: Job, loaded: LoadedModel, progress: Progress) -> int:
    config = job.config
    store = Store(Path(config.store))
    loaded.prepared.features.attach(
        store, f"{loaded.digest}-{loaded.dtype}", int(config.model.features_gib * 2**30)
    )
    suites = open_suites(config, loaded, store)
    lm = LuqModel(loaded=loaded, batch_size=config.suite.batch_size or config.batch_size)
    lm.on_progress = progress.advance
    keys = {name: cell_key(config, loaded, suite) for name, suite in suites.items()}
    todo = distributed.gathered([name for name in suites if not _complete(store, keys[name])])[0]
    for name in suites:
        if name not in todo:
            progress.finish_cell(cell_label(config, suites[name]), ALREADY)
    if not todo:
        return 0
    with store.working("cells", [keys[name] for name in todo]) as finished:
        return _evaluate_cells(
            job, lm, store, {name: (keys[name], suites[name]) for name in todo}, progress, finished
        )


def _evaluate_cells(
    job: Job,
    lm: LuqModel,
    store: Store,
    todo: Mapping[str, tuple[str, Suite | TextSuite]],
    progress: Progress,
    finished: Callable[[str], None],
) -> int:
    """todo:

    (key, suite) of every cell that is not complete, by the suite's name. finished: told the key of
    each that is.
    """
    config, loaded = job.config, lm.loaded
    progress.step(f"quantizing {config.method.name}")
    try:
        with distributed.first_alone():
            bench = open_workbench(config, progress)
            if calibrated(config.method):
                refuse_leakage(
                    config.calibration, {name: suite for name, (_, suite) in todo.items()}
                )
            variant = bench.variant(config.method)
            blocks = bench.described(variant, config.method)
            lm.calibration_pictures = (
                bench.calibration_pictures() if calibrated(config.method) else frozenset()
            )
    except QuantizationError as error:
        for name, (key, suite) in todo.items():
            _fail(store, key, job, name, str(error))
            progress.finish_cell(cell_label(config, suite), f"FAILED: {error}")
        return len(todo)
    failed = 0
    with (
        tracked(config, "evaluate", _variant_name(config), job.sweep) as tracker,
        applied(loaded.model, loaded.family, variant.weights, packed=loaded.streamed),
    ):
        for name, (key, suite) in todo.items():
            progress.start_cell(cell_label(config, suite), suite.whole_groups(config.limit))
            try:
                with store.claimed("cells", key):
                    cell, scores = _fill(store, lm, job, suite, variant, blocks, key)
                tracker.scalars(cell_scalars(cell, scores))
                if name == next(iter(todo)):
                    tracker.table("blocks", *layer_table(cell))
                progress.finish_cell(cell_label(config, suite), f"done, {outcome(scores)}")
            except (CellError, QuantizationError) as error:
                failed += 1
                _fail(store, key, job, name, str(error))
                progress.finish_cell(cell_label(config, suite), f"FAILED: {error}")
            finished(key)
    return failed


def export(job: Job, progress: Progress) -> int:
    """Write one variant as a model folder; returns 1 if it could not be quantized."""
    config = job.config
    progress.step("loading the model, quantizing")
    try:
        loaded, variant = open_variant(config)
    except QuantizationError as error:
        progress.message(f"FAILED {config.method.name}: {error}")
        return 1
    name = f"{safe_name(f'{loaded.name}-{config.method.name}')}-{variant.digest[:8]}"
    folder = Path(config.out or Path(config.store) / "export" / name)
    size = export_model(folder, loaded, variant, config.method.name)
    progress.message(
        f"{folder}: {bytes_text(size)} in all, {variant.stored_bits:.3f} stored bits for each"
        " weight of the decoder's linears"
    )
    progress.message(
        f"Evaluate it: python -m harness method=fp model.name={loaded.name}-packed"
        f" model.path={shlex.quote(str(folder))}"
    )
    return 0


def open_model(config: Config) -> LoadedModel:
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
    return known_model(model.name, model.path, model.dtype, model.revision)


def open_variant(config: Config) -> tuple[LoadedModel, Variant]:
    """The base model and a variant of it, for lmms-eval's own command line."""
    bench = open_workbench(config)
    return bench.loaded, bench.variant(config.method)


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


def open_workbench(config: Config, progress: Progress = SILENT) -> Workbench:
    """progress: where calibration and quantization report to."""
    return Workbench(
        open_model(config),
        config.calibration,
        config.entropy,
        Store(Path(config.store)),
        config.workers,
        progress,
    )


def cell_label(config: Config, suite: Suite | TextSuite) -> str:
    return f"{_variant_name(config)} on {suite.title}"


def _variant_name(config: Config) -> str:
    method = config.method
    unusual = [
        order_name(config) if method.k else "",
        method.inputs,
        f"alpha {config.calibration.alpha:g}",
    ]
    parts = [
        method.name,
        f"k={method.k}" if method.k else "",
        f"{method.budget_bits:g} bits" if method.candidates else "",
    ]
    parts += [
        word
        for word, usual in zip(unusual, ("entropy", "fp", "alpha 0.5"), strict=True)
        if word != usual
    ]
    return " ".join(part for part in parts if part)


def cell_key(config: Config, loaded: LoadedModel, suite: Suite | TextSuite) -> str:
    """Digest of the request: a name and settings, not yet weights."""
    parts = [
        config.model.name,
        loaded.digest,
        loaded.dtype,
        _asked(config.method),
        asdict(config.calibration),
        asdict(config.entropy),
        suite.name,
        suite.data,
        suite.whole_groups(config.limit),
        config.suite.batch_size or config.batch_size,
    ]
    return digest.of_value(parts)


def _asked(method: MethodConfig) -> dict[str, object]:
    """What of a method makes the variant."""
    return {name: value for name, value in asdict(method).items() if name != "reference"}


def _complete(store: Store, key: str) -> bool:
    """Whether the cell and the result that it points to are there and readable."""
    cell = store.load_entry("cells", key, CELL_FILE, Cell)
    if cell is None:
        return False
    if load_result(store, cell.result) is None:
        store.set_aside("cells", key, "its result is gone")
        return False
    return True


def _fill(
    store: Store,
    lm: LuqModel,
    job: Job,
    suite: Suite | TextSuite,
    variant: Variant,
    blocks: list[Block],
    key: str,
) -> tuple[Cell, SuiteResult]:
    config, began = job.config, time.monotonic()
    found = store.load_entry("cells", key, CELL_FILE, Cell) if distributed.count() == 1 else None
    if found is not None and (known := load_result(store, found.result)) is not None:
        return found, known  # another process was first
    result, scores = answered(store, lm, suite, variant.digest, config)
    cell = Cell(
        model=config.model.name,
        method=config.method.name,
        low=quantizer_name(config.method.low),
        high=" or ".join(map(quantizer_name, config.method.candidates))
        or quantizer_name(config.method.high),
        k=int(config.method.k),
        order=order_name(config),
        inputs=config.method.inputs,
        budget_bits=config.method.budget_bits,
        alpha=config.calibration.alpha,
        calibration_seed=config.calibration.seed,
        paper_bits=variant.paper_bits,
        stored_bits=variant.stored_bits,
        stored_bytes=variant.stored_bytes,
        suite=suite.name,
        limit=config.limit,
        variant=variant.digest,
        result=result,
        command=job.command,
        seconds=time.monotonic() - began,
        questions=suite.whole_groups(config.limit),
        blocks=blocks,
        events=list(variant.events),
        made_with=made_with(lm.device, lm.loaded.dtype),
    )
    with store.creating("cells", key) as folder:
        (folder / CELL_FILE).write_text(to_json(cell))
    (store.root / "failures" / f"{key}.json").unlink(missing_ok=True)
    return cell, scores


def answered(
    store: Store, lm: LuqModel, suite: Suite | TextSuite, variant: str, config: Config
) -> tuple[str, SuiteResult]:
    """(key, result) of the variant of this digest, which is in the model, on pictures or on text."""
    if isinstance(suite, TextSuite):
        with distributed.first_alone():
            return evaluate_text(
                store,
                lm.loaded,
                suite,
                variant=variant,
                limit=config.limit,
                on_progress=lm.on_progress,
            )
    return evaluate_suite(
        store,
        lm,
        suite,
        variant=variant,
        limit=config.limit,
        max_error_share=config.max_error_share,
    )


def outcome(result: SuiteResult) -> str:
    """Scores in a few words."""
    scores = [
        score.text
        for metric in result.metrics
        if metric.primary and (score := shown_score(metric)) is not None
    ]
    asked = (
        "windows" if result.metrics and result.metrics[0].statistic == "perplexity" else "questions"
    )
    return f"{' and '.join(scores) or 'no score'} ({result.n:,} {asked})"


def _fail(store: Store, key: str, job: Job, suite: str, error: str) -> None:
    config = job.config
    failure = Failure(
        model=config.model.name,
        method=config.method.name,
        k=int(config.method.k),
        suite=suite,
        limit=config.limit,
        error=error,
        command=job.command,
    )
    store.write_file(store.root / "failures" / f"{key}.json", to_json(failure))


def order_name(config: Config) -> str:
    """The order, with whatever in it is not as usual."""
    method, usual = config.method, EntropyConfig()
    if method.candidates:
        return (
            f"random-{method.order_seed}"
            if method.score == "random"
            else f"{method.score} by {method.unit}"
        )
    if method.order == "random":
        return f"random-{method.order_seed}"
    if not method.order.startswith("entropy"):
        return method.order
    unusual = (
        f"{name}={value}"
        for name, value in asdict(config.entropy).items()
        if value != getattr(usual, name) and name != "grid"
    )
    return " ".join([method.order, *unusual])
