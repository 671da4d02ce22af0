"""A cell: one variant on one suite. How it is named and keyed, and what is recorded of it."""

from __future__ import annotations

import functools
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from loguru import logger

from harness import distributed
from harness.config.schema import Config, EntropyConfig, MethodConfig
from harness.evaluation.suite import EvaluationContext, ScoresAgain, Suite
from harness.failures import cause, depends_on, fails_again
from harness.models.load import LoadedModel
from harness.provenance import provenance
from harness.stages.base import Job
from harness.store import digest
from harness.store.records import (
    code_of_cell,
    has_failure,
    load_cell,
    load_failure,
    load_result,
    remove_failure,
    save_cell,
    save_failure,
)
from harness.store.store import Store
from harness.variants.quantizers import (
    code_of,
    quantizer_name,
    quantizer_record,
    uses_calibration,
)
from harness.variants.variant import Variant
from reports.records.results import Block, Cell, Failure, SuiteResult
from reports.report.lines import CellResult, shown_score
from reports.statistics.perplexity import text_statistic

# Outdated: the code of a quantizer has changed since.
STATES = ("done", "running", "failed", "missing", "outdated")


def cell_label(config: Config, suite: Suite) -> str:
    """A cell in words: `luq k=4 on GQA`."""
    return f"{variant_name(config)} on {suite.title}"


def variant_name(config: Config) -> str:
    """The method, with whatever differs from the defaults."""
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


def order_name(config: Config) -> str:
    """The order of the blocks, with every entropy setting that differs from the defaults."""
    method, usual = config.method, EntropyConfig()
    if method.candidates and method.score != "random":
        return f"{method.score} by {method.unit}"
    if method.candidates or method.order == "random":
        return f"random-{method.order_seed}"
    if not method.order.startswith("entropy"):
        return method.order
    unusual = (
        f"{name}={value}"
        for name, value in asdict(config.entropy).items()
        if value != getattr(usual, name) and name != "grid"
    )
    return " ".join([method.order, *unusual])


def cell_key(config: Config, loaded: LoadedModel, suite: Suite) -> str:
    """Digest of the request: of names and settings; not of weights or code."""
    parts = [
        config.model.name,
        loaded.digest,
        loaded.dtype,
        _variant_settings(config.method),
        asdict(config.calibration),
        asdict(config.entropy),
        suite.name,
        suite.data,
        suite.whole_groups(config.limit),
        config.suite.batch_size or config.batch_size,
    ]
    return digest.of_value(parts)


def _variant_settings(method: MethodConfig) -> dict[str, object]:
    """Those settings of a method that make the variant."""
    return {name: value for name, value in asdict(method).items() if name != "reference"}


def cell_state(store: Store, key: str, config: Config) -> str:
    """One of `STATES`; of the cell nothing is read but what tells whether it is outdated."""
    made_by = code_of_cell(store, key)
    if made_by == code_of(config.method):
        return "done"
    if store.is_running("cells", key):
        return "running"
    if has_failure(store, key):
        return "failed"
    return "missing" if made_by is None else "outdated"


def complete_cell(store: Store, key: str, suite: Suite, config: Config) -> CellResult | None:
    """A stored cell with its result; None where either is missing, or damaged and set aside, and
    where the code of a quantizer has changed since.

    Where the rules that read the answers have changed since, these are scored again, and the cell
    is stored with the result of that.
    """
    cell = load_cell(store, key)
    if cell is None:
        return None
    if cell.code != code_of(config.method):
        _say_outdated(store.root)
        return None
    result = load_result(store, cell.result)
    if result is None:
        store.set_aside("cells", key, "its result is gone")
        return None
    rules = {name: metric.rules for name, metric in suite.metrics.items()}
    outdated = any(one.rules != rules.get(one.metric, one.rules) for one in result.metrics)
    if outdated and isinstance(suite, ScoresAgain):
        again, result = suite.score_again(store, cell, result)
        cell = cell.model_copy(update={"result": again})
        save_cell(store, key, cell, replacing=distributed.rank() == 0)
    return CellResult(cell=cell, result=result)


@functools.cache
def _say_outdated(store: Path) -> None:
    """Tell once in a process what changed code means for a store."""
    logger.warning(
        f"{store}: the code of quantizers has changed since cells were made: their blocks are"
        " quantized again; answers and scores stay wherever the packed weights come out the same"
    )


def fill_cell(
    context: EvaluationContext,
    job: Job,
    suite: Suite,
    variant: Variant,
    blocks: list[Block],
    key: str,
) -> CellResult:
    """Evaluate the variant that is in the model on one suite, and store the cell.

    Args:
        context: The model, with the variant's weights in it, and the store.
        job: What asked for the cell.
        suite: What is evaluated.
        variant: What is in the model.
        blocks: Description of its decoder blocks.
        key: Of the cell.
    """
    began, store, config = time.monotonic(), context.store, job.config
    stored = complete_cell(store, key, suite, config) if distributed.world_size() == 1 else None
    if stored is not None:
        return stored  # another process was first
    result_key, result = suite.answer(context, variant.digest, config.limit)
    cell = Cell(
        **_request(job),
        model_digest=context.loaded.digest,
        paper_bits=variant.paper_bits,
        stored_bits=variant.stored_bits,
        stored_bytes=variant.stored_bytes,
        suite=suite.name,
        variant=variant.digest,
        result=result_key,
        seconds=time.monotonic() - began,
        questions=suite.whole_groups(config.limit),
        blocks=blocks,
        events=list(variant.events),
        made_with=provenance(context.loaded.device, context.loaded.dtype),
    )
    outdated = distributed.rank() == 0 and store.has("cells", key)
    save_cell(store, key, cell, replacing=outdated)
    remove_failure(store, key)
    remove_failure(store, unopened_key(config, suite.name))
    return CellResult(cell=cell, result=result)


def _request(job: Job) -> dict[str, Any]:
    """What a cell says of the request that made it."""
    method, calibration = job.config.method, job.config.calibration
    candidates = " or ".join(map(quantizer_name, method.candidates))
    return {
        "model": job.config.model.name,
        "method": method.name,
        "low": quantizer_name(method.low),
        "high": candidates or quantizer_name(method.high),
        "low_quantizer": quantizer_record(method.low),
        "high_quantizer": quantizer_record(method.high),
        "candidates": [record for one in method.candidates if (record := quantizer_record(one))],
        "code": code_of(method),
        "k": int(method.k),
        "order": order_name(job.config),
        "inputs": method.inputs,
        "budget_bits": method.budget_bits,
        "alpha": calibration.alpha,
        "calibration_seed": calibration.seed,
        "calibration": _calibration(job.config),
        "limit": job.config.limit,
        "command": job.command,
    }


def _calibration(config: Config) -> dict[str, Any]:
    """Settings of the calibration data that a cell has no field of its own for."""
    if not uses_calibration(config.method):
        return {}
    return {
        name: value
        for name, value in asdict(config.calibration).items()
        if name not in ("alpha", "seed")
    }


def record_failure(store: Store, key: str, job: Job, suite: str, error: BaseException) -> str:
    """Keep why a cell could not be filled, for the report.

    Returns:
        Why, in a line.
    """
    config = job.config
    data = (config.calibration.text, config.calibration.image_text, config.suite.data)
    failure = Failure(
        model=config.model.name,
        method=config.method.name,
        k=config.method.k if isinstance(config.method.k, int) else 0,
        suite=suite,
        limit=config.limit,
        error=cause(error),
        command=job.command,
        depends_on=depends_on(error, [path for path in data if path]),
    )
    save_failure(store, key, failure)
    return failure.error


def lasting_failure(store: Store, key: str) -> Failure | None:
    """The failure of a cell that would fail again, as nothing it depended on has changed."""
    failure = load_failure(store, key)
    return failure if failure is not None and fails_again(failure.depends_on) else None


def unopened_key(config: Config, task: str) -> str:
    """Key of the failure of a cell whose model or suite could not be opened: of names alone."""
    parts = [config.model.name, _variant_settings(config.method), asdict(config.calibration)]
    return digest.of_value([*parts, asdict(config.entropy), config.suite.folder, task])


def scores_text(result: SuiteResult) -> str:
    """The primary scores of a result in a few words."""
    scores = [
        score.text
        for metric in result.metrics
        if metric.primary and (score := shown_score(metric)) is not None
    ]
    text = text_statistic(result)
    unit = text.items if text is not None else "questions"
    return f"{' and '.join(scores) or 'no score'} ({result.n:,} {unit})"
