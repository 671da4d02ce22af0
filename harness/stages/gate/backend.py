"""What the gate learns of a backend: its contract, its bytes, planted layers and answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

from harness.config.schema import Config
from harness.errors import ConfigError
from harness.evaluation.leakage import refuse_overlap
from harness.evaluation.suite import Suite
from harness.failures import cause, require_of_a_cell
from harness.progress import Progress
from harness.stages.cells import scores_text
from harness.stages.evaluate import evaluation_context
from harness.variants.calibration_run import CalibrationRun
from harness.variants.quantizers import build, uses_calibration
from harness.variants.variant import Variant, make_variant
from luq.decoder.apply import applied
from luq.pipelines.contract import contract_checks
from luq.pipelines.synthetic import layer_errors
from luq.types import Quantizer
from reports.records.gate import Check, Measured
from reports.records.results import SuiteResult


def quantizers_to_judge(config: Config) -> list[Quantizer]:
    """Every quantizer of the method.

    Raises:
        ConfigError: It has none.
    """
    method = config.method
    options = [("method.low", method.low), ("method.high", method.high)]
    options += [
        (f"method.candidates[{i}]", candidate) for i, candidate in enumerate(method.candidates)
    ]
    quantizers = [one for key, given in options if (one := build(given, key)) is not None]
    if not quantizers:
        raise ConfigError(
            f"{method.name} quantizes nothing; stage=gate judges a method with a quantizer, such as"
            " method=gptq4"
        )
    return quantizers


def _whole_model(quantizer: Quantizer) -> bool:
    return bool(getattr(quantizer, "whole_model", False))


def contract(quantizer: Quantizer, seed: int, progress: Progress) -> Iterator[Check]:
    """A check for each claim of the contract that every quantizer must keep."""
    if _whole_model(quantizer):
        yield Check(
            group="contract",
            name=quantizer.method,
            verdict="skipped",
            detail="another library's program takes whole models only",
        )
        return
    progress.step(f"contract of {quantizer.method}")
    for claim, check in contract_checks(quantizer).items():
        began = time.monotonic()
        reason = _breach(lambda check=check: check(quantizer, seed))  # type: ignore[misc]
        yield Check(
            group="contract",
            name=f"{quantizer.method}: {claim}",
            verdict="fail" if reason else "pass",
            detail=reason,
            seconds=time.monotonic() - began,
        )


def _breach(check: Callable[[], None]) -> str:
    """Why it failed, or "": whatever a backend raises is its failure, not the gate's."""
    try:
        check()
    except Exception as error:  # noqa: BLE001
        return f"{type(error).__name__}: {error}"
    return ""


def measure(
    calibration_run: CalibrationRun,
    config: Config,
    suites: Mapping[str, Suite],
    progress: Progress,
) -> tuple[Measured | None, Check]:
    """What the method stores, its errors on planted layers and its answers.

    Returns:
        (what was measured, the check that it could be); None where it could not.
    """
    method, began = config.method, time.monotonic()
    title = f"{method.name} quantizes and answers"
    try:
        progress.step(f"quantizing {method.name}")
        if uses_calibration(method):
            refuse_overlap(config.calibration, suites.values())
        variant = make_variant(calibration_run, method, config.entropy, config.workers)
        results = _results(calibration_run, config, variant, suites, progress)
    except (Exception, SystemExit) as error:  # noqa: BLE001 (whatever a backend raises is its failure)
        require_of_a_cell(error)
        seconds = time.monotonic() - began
        return None, Check(
            group="answers", name=title, verdict="fail", detail=cause(error), seconds=seconds
        )
    measured = Measured(
        method=method.name,
        paper_bits=variant.paper_bits,
        stored_bits=variant.stored_bits,
        stored_bytes=variant.stored_bytes,
        layer_errors=_planted(config),
        results=results,
    )
    detail = f"{variant.stored_bits:.3f} stored bits a weight, {variant.paper_bits:.2f} paper bits"
    seconds = time.monotonic() - began
    return measured, Check(group="bits", name=title, verdict="pass", detail=detail, seconds=seconds)


def _results(
    calibration_run: CalibrationRun,
    config: Config,
    variant: Variant,
    suites: Mapping[str, Suite],
    progress: Progress,
) -> dict[str, SuiteResult]:
    loaded, results = calibration_run.loaded, {}
    context = evaluation_context(config, calibration_run)
    with applied(loaded.model, loaded.family, variant.weights, packed=loaded.streamed):
        for name, suite in suites.items():
            label = f"{config.method.name} on {suite.title}"
            progress.start_cell(label, suite.whole_groups(config.limit))
            _, results[name] = suite.answer(context, variant.digest, config.limit)
            progress.finish_cell(label, f"done, {scores_text(results[name])}")
    return results


def _planted(config: Config) -> tuple[float, ...]:
    """Errors on planted layers, where one quantizer is all there is and it takes single layers."""
    quantizers = quantizers_to_judge(config) if config.method.high else []
    if len(quantizers) != 1 or _whole_model(quantizers[0]):
        return ()
    return tuple(layer_errors(quantizers[0], config.gate.seed))
