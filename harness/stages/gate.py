"""The stage `gate`: a backend's contract, its planted layers, and a fixed small evaluation beside
its reference and its own earlier run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from pydantic import ValidationError

from harness.config.compose import compose
from harness.config.schema import Config
from harness.errors import CellError, ConfigError
from harness.evaluation.leakage import refuse_leakage
from harness.evaluation.lmms_model import LuqModel
from harness.evaluation.picture_suite import Suite, load_suites, mini_data
from harness.evaluation.text_suite import TextSuite
from harness.progress import Progress
from harness.provenance import made_with
from harness.stages.base import Job, Outcome
from harness.stages.cells import evaluate_on, scores_text
from harness.stages.evaluate import open_suites
from harness.store import digest
from harness.store.store import Store, safe_name
from harness.variants.calibration_run import CalibrationRun, open_run
from harness.variants.quantizers import build, uses_calibration
from harness.variants.variant import make_variant
from luq.decoder.apply import applied
from luq.pipelines.contract import contract_checks
from luq.pipelines.synthetic import layer_errors
from luq.types import QuantizationError, Quantizer
from reports.records.gate import Check, GateRun, Measured, Role, judge, junit, verdict_of
from reports.records.results import SuiteResult, to_json
from tasks.mini import suites as mini

RESULT, REPORT, BEFORE = "gate.json", "junit.xml", "earlier.json"


def run(jobs: Sequence[Job], progress: Progress) -> Outcome:
    """Judge the method of every job."""
    return sum((_judge_method(job, progress) for job in jobs), Outcome())


def _judge_method(job: Job, progress: Progress) -> Outcome:
    """Judge one method. A broken contract ends it before anything is evaluated."""
    config, baseline = _seeded(job.config), _baseline(job)
    versus = baseline.method.name if baseline else "its earlier run"
    progress.announce(
        len(config.suite.tasks) * (2 if baseline else 1),
        0,
        f"gate: {config.method.name} compared with {versus}",
    )
    store = Store(Path(config.store))
    checks = [
        check
        for quantizer in _quantizers(config)
        for check in _contract(quantizer, config.gate.seed, progress)
    ]
    measured, key, device = None, "", torch.device("cpu")
    if any(check.verdict == "fail" for check in checks):
        checks.append(_SKIPPED)
    else:
        progress.step("loading the model")
        bench = open_run(config, progress)
        device, suites = bench.loaded.device, _suites(config, bench, store)
        key = _key(config, bench, suites)
        measured, check = _measured(bench, config, suites, progress)
        checks.append(check)
        if measured is not None:
            others = _others(config, baseline, bench, suites, store, key, progress)
            compared = [check for other in others for check in _beside(measured, other, config)]
            checks += compared or [_alone(config)]
    result = GateRun(
        model=config.model.name,
        method=config.method.name,
        baseline=baseline.method.name if baseline else None,
        margin=config.margin,
        seed=config.gate.seed,
        questions=_questions(config),
        command=job.command,
        made_with=made_with(device, config.model.dtype),
        checks=checks,
        measured=measured,
        verdict=verdict_of(checks),
    )
    _write(result, config, store, key)
    _show(result, _folder(config), progress)
    return Outcome(failed=int(result.verdict == "fail"), undecided=result.verdict == "undecided")


_SKIPPED = Check(
    group="answers", name="evaluation", verdict="skipped", detail="the contract is broken"
)


def _baseline(job: Job) -> Config | None:
    """The same configuration with the method that this one is compared with."""
    name = job.config.baseline or job.config.method.reference
    if name is None:
        return None
    others = [one for one in job.overrides if not one.startswith(("method", "+method"))]
    return _seeded(compose([*others, f"method={name}"]))


def _seeded(config: Config) -> Config:
    """The gate's seed draws the calibration data; see `_suites` for the questions."""
    return replace(
        config,
        calibration=replace(config.calibration, seed=config.calibration.seed + config.gate.seed),
        limit=_questions(config),
    )


def _questions(config: Config) -> int:
    return config.gate.questions if config.limit is None else config.limit


def _quantizers(config: Config) -> list[Quantizer]:
    method = config.method
    options = [("method.low", method.low), ("method.high", method.high)]
    options += [
        (f"method.candidates[{i}]", candidate) for i, candidate in enumerate(method.candidates)
    ]
    found = [quantizer for key, given in options if (quantizer := build(given, key)) is not None]
    if not found:
        raise ConfigError(
            f"{method.name} quantizes nothing; stage=gate judges a method with a quantizer, such as"
            " method=gptq4"
        )
    return found


def _whole_model(quantizer: Quantizer) -> bool:
    return bool(getattr(quantizer, "whole_model", False))


def _contract(quantizer: Quantizer, seed: int, progress: Progress) -> Iterator[Check]:
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


def _suites(config: Config, bench: CalibrationRun, store: Store) -> Mapping[str, Suite | TextSuite]:
    """The usual ones; the embedded ones under another seed ask other questions."""
    if config.suite.folder == "mini" and config.gate.seed:
        data = mini_data(store, config.suite.tasks, seed=mini.SEED + 10_000 * config.gate.seed)
        return load_suites("mini", tuple(config.suite.tasks), bench.loaded.family.name, data)
    return open_suites(config, bench.loaded, store)


def _measured(
    bench: CalibrationRun,
    config: Config,
    suites: Mapping[str, Suite | TextSuite],
    progress: Progress,
) -> tuple[Measured | None, Check]:
    """What the method stores, its planted layers and its answers; or None and why not."""
    method, began = config.method, time.monotonic()
    title = f"{method.name} quantizes and answers"
    try:
        progress.step(f"quantizing {method.name}")
        if uses_calibration(method):
            refuse_leakage(config.calibration, suites)
        variant = make_variant(bench, method, config.entropy, config.workers)
        lm = LuqModel(loaded=bench.loaded, batch_size=config.suite.batch_size or config.batch_size)
        lm.on_progress = progress.advance
        lm.calibration_pictures = (
            bench.calibration_pictures() if uses_calibration(method) else frozenset()
        )
        results: dict[str, SuiteResult] = {}
        with applied(
            bench.loaded.model, bench.loaded.family, variant.weights, packed=bench.loaded.streamed
        ):
            for name, suite in suites.items():
                progress.start_cell(
                    f"{method.name} on {suite.title}", suite.whole_groups(config.limit)
                )
                _, results[name] = evaluate_on(bench.store, lm, suite, variant.digest, config)
                progress.finish_cell(
                    f"{method.name} on {suite.title}", f"done, {scores_text(results[name])}"
                )
    except (CellError, QuantizationError) as error:
        return None, Check(
            group="answers",
            name=title,
            verdict="fail",
            detail=str(error),
            seconds=time.monotonic() - began,
        )
    told = f"{variant.stored_bits:.3f} stored bits a weight, {variant.paper_bits:.2f} by its paper"
    measured = Measured(
        method=method.name,
        paper_bits=variant.paper_bits,
        stored_bits=variant.stored_bits,
        stored_bytes=variant.stored_bytes,
        layer_errors=_planted(config),
        results=results,
    )
    return measured, Check(
        group="bits", name=title, verdict="pass", detail=told, seconds=time.monotonic() - began
    )


def _planted(config: Config) -> tuple[float, ...]:
    """Errors on planted layers, where one quantizer is all there is and it takes single layers."""
    quantizers = _quantizers(config) if config.method.high else []
    return (
        tuple(layer_errors(quantizers[0], config.gate.seed))
        if len(quantizers) == 1 and not _whole_model(quantizers[0])
        else ()
    )


Other = tuple[Role, Measured | Check]


def _others(
    config: Config,
    baseline: Config | None,
    bench: CalibrationRun,
    suites: Mapping[str, Suite | TextSuite],
    store: Store,
    key: str,
    progress: Progress,
) -> list[Other]:
    """What there is to compare with: the reference, the earlier run."""
    found: list[Other] = []
    if baseline is not None:
        measured, check = _measured(bench, baseline, suites, progress)
        found.append(("reference", measured or check))
    earlier = _earlier(config, store, key)
    if earlier is not None and earlier.measured is not None:
        found.append(("earlier", earlier.measured))
    return found


def _beside(mine: Measured, other: Other, config: Config) -> list[Check]:
    role, found = other
    if isinstance(found, Check):
        return [
            found.model_copy(
                update={"verdict": "undecided", "detail": f"the reference failed: {found.detail}"}
            )
        ]
    return judge(mine, found, config.margin, role=role, more_bits=config.gate.more_bits)


def _alone(config: Config) -> Check:
    told = (
        f"{config.method.name} has no reference and no earlier run; give baseline=METHOD, or run"
        " the gate again to compare with this run"
    )
    return Check(group="answers", name="comparison", verdict="undecided", detail=told)


def _key(config: Config, bench: CalibrationRun, suites: Mapping[str, Suite | TextSuite]) -> str:
    """What must be equal for two runs of a method to be compared."""
    data = {name: (suite.data, suite.whole_groups(config.limit)) for name, suite in suites.items()}
    return digest.of_value(
        [
            config.model.name,
            bench.loaded.digest,
            config.method.name,
            asdict(config.calibration),
            data,
            config.gate.seed,
        ]
    )


def _earlier(config: Config, store: Store, key: str) -> GateRun | None:
    """The run that is named, else the last one of the store that did not fail."""
    path = Path(config.gate.earlier) if config.gate.earlier else store.path("gate", key) / BEFORE
    if not config.gate.earlier and not path.exists():
        return None
    try:
        run = GateRun.model_validate_json(path.read_text())
    except (OSError, ValidationError) as error:
        where = "gate.earlier" if config.gate.earlier else "the store's earlier run"
        raise ConfigError(
            f"{where}={path} cannot be read: {str(error).splitlines()[0]}; give another, or"
            " remove it"
        ) from error
    mine = (config.model.name, config.method.name, config.gate.seed, config.limit)
    if mine != (run.model, run.method, run.seed, run.questions):
        raise ConfigError(
            f"gate.earlier={path} is of {run.model} {run.method}, seed {run.seed}, {run.questions}"
            f" questions a suite, and this run is of {mine[0]} {mine[1]}, seed {mine[2]},"
            f" {mine[3]}; they cannot be compared"
        )
    return run


def _folder(config: Config) -> Path:
    return (
        Path(config.out)
        if config.out
        else Path(config.store) / "gate" / safe_name(f"{config.model.name}-{config.method.name}")
    )


def _write(run: GateRun, config: Config, store: Store, key: str) -> None:
    store.write_file(_folder(config) / RESULT, to_json(run))
    store.write_file(_folder(config) / REPORT, junit(run))
    if key and run.verdict != "fail":
        store.write_file(store.path("gate", key) / BEFORE, to_json(run))


def _show(run: GateRun, folder: Path, progress: Progress) -> None:
    """Checks of the contract that hold are only counted; the files list them."""
    kept = [check for check in run.checks if check.group == "contract" and check.verdict == "pass"]
    rows = [("contract", "pass", f"{len(kept)} checks hold")] if kept else []
    rows += [(check.name, check.verdict, check.detail) for check in run.checks if check not in kept]
    progress.table(["check", "verdict", "what was found"], rows, wrap=True)
    against = f" beside {run.baseline}" if run.baseline else ""
    progress.message(
        f"gate: {run.verdict.upper()} for {run.method}{against} on {run.model}, margin"
        f" {run.margin:g}. {folder / RESULT}, {folder / REPORT}"
    )
