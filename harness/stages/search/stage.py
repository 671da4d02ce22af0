"""Find the k of every job and keep what was evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from harness.errors import ConfigError
from harness.progress import Progress
from harness.stages.base import Job, Outcome
from harness.stages.cells import order_name
from harness.stages.measure import keep, origin
from harness.stages.search.threshold import ThresholdSearch
from harness.variants.calibration_run import CalibrationRun, open_run
from harness.variants.sizes import language_model_bytes
from harness.variants.variant import Variant, make_variant
from luq.allocation.search import smallest_within
from reports.records.measurements import Search
from reports.report.lines import bytes_text

MIB = 2**20


def run(jobs: Sequence[Job], progress: Progress) -> Outcome:
    """Find k for every job; a search that finds none has failed."""
    return sum((_search(job, progress) for job in jobs), Outcome())


def _search(job: Job, progress: Progress) -> Outcome:
    _check(job)
    progress.step("searching")
    calibration_run = open_run(job.config, progress)

    def variant_at(k: int) -> Variant:
        config = job.config
        method = replace(config.method, k=k)
        return make_variant(calibration_run, method, config.entropy, config.workers)

    if job.config.search.rule == "budget":
        result = _within_budget(job, _sizes(calibration_run, variant_at))
    else:
        search = ThresholdSearch(calibration_run, job, progress, variant_at)
        result = search.run() | {"language_model_bytes": _sizes(calibration_run, variant_at)}
    record = Search(**_request(calibration_run, job), **result)
    keep(calibration_run.store, record)
    progress.message(record.text)
    return Outcome(failed=int(record.scan is None))


def _check(job: Job) -> None:
    settings = job.config.search
    if not job.config.method.low:
        raise ConfigError(
            "stage=search looks for the k of a method with a low and a high quantizer, such as "
            "method=luq"
        )
    key = "tau" if settings.rule == "threshold" else "budget_mib"
    if getattr(settings, key) is None:
        raise ConfigError(f"search.rule={settings.rule} needs search.{key}")
    if settings.relative and settings.tau is not None and settings.tau < 0:
        raise ConfigError(
            f"search.tau is {settings.tau}; with search.relative=true it is the number of points "
            "that may be lost, 0 or more"
        )


def _sizes(calibration_run: CalibrationRun, variant_at: Any) -> list[int]:
    """Bytes of the packed language model by k."""
    loaded = calibration_run.loaded
    return [language_model_bytes(loaded, variant_at(k)) for k in range(len(loaded.blocks) + 1)]


def _within_budget(job: Job, sizes: list[int]) -> dict[str, Any]:
    """The smallest k within the budget, as fields of a `Search`."""
    budget = job.config.search.budget_mib
    assert budget is not None, "the configuration was checked"
    try:
        k = smallest_within(sizes, int(budget * MIB))
    except ValueError as error:
        raise ConfigError(
            f"search.budget_mib={budget}: {error}. The language model needs {sizes[-1] / MIB:.3f} "
            f"MiB with every block low and {sizes[0] / MIB:.3f} MiB with none"
        ) from error
    before = (
        "; already the model with no block low is within it"
        if k == 0
        else f" (k={k - 1}: {bytes_text(sizes[k - 1])})"
    )
    text = f"budget {budget:g} MiB of packed language model: k = {k}, {bytes_text(sizes[k])}"
    return {
        "binary": k,
        "scan": k,
        "asked": [],
        "binary_asked": [],
        "violations": [],
        "language_model_bytes": sizes,
        "text": text + before,
    }


def _request(calibration_run: CalibrationRun, job: Job) -> dict[str, Any]:
    """What a `Search` says of the request that made it."""
    settings, method = job.config.search, job.config.method
    by_score = settings.rule == "threshold"
    return {
        **origin(calibration_run, job),
        "method": method.name,
        "order": order_name(job.config),
        "inputs": method.inputs,
        "rule": settings.rule,
        "suite": settings.suite if by_score else "",
        "split": settings.split if by_score else "",
        "threshold": settings.tau if by_score else None,
        "relative": settings.relative,
        "budget_bytes": None if by_score else int((settings.budget_mib or 0) * MIB),
    }
