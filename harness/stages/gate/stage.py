"""Judge a backend: alone, compared with its reference, and with its own earlier run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from pydantic import ValidationError

from harness.config.compose import compose
from harness.config.schema import Config
from harness.errors import ConfigError
from harness.evaluation.registry import open_suites
from harness.evaluation.suite import Suite
from harness.progress import Progress
from harness.provenance import provenance
from harness.stages.base import Job, Outcome
from harness.stages.gate.backend import contract, measure, quantizers_to_judge
from harness.store import digest
from harness.store.store import Store, safe_name
from harness.variants.calibration_run import CalibrationRun, open_run
from reports.records.gate import Check, GateRun, Measured, Role
from reports.records.schema import to_json
from reports.report.junit import junit
from reports.statistics.non_inferior import judge, verdict_of

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
    checks = [
        check
        for quantizer in quantizers_to_judge(config)
        for check in contract(quantizer, config.gate.seed, progress)
    ]
    if any(check.verdict == "fail" for check in checks):
        evaluation = _Evaluation([SKIPPED])
    else:
        evaluation = _evaluate(config, baseline, progress)
    checks += evaluation.checks
    result = GateRun(
        model=config.model.name,
        method=config.method.name,
        baseline=baseline.method.name if baseline else None,
        margin=config.margin,
        seed=config.gate.seed,
        questions=_questions(config),
        command=job.command,
        made_with=provenance(evaluation.device, config.model.dtype),
        checks=checks,
        measured=evaluation.measured,
        verdict=verdict_of(checks),
    )
    _write(result, config, evaluation.key)
    _show(result, _folder(config), progress)
    return Outcome(failed=int(result.verdict == "fail"), undecided=result.verdict == "undecided")


@dataclass(frozen=True)
class _Evaluation:
    """What evaluating a backend gave.

    Attributes:
        key: Of the runs that it may be compared with, "" where nothing was evaluated.
    """

    checks: list[Check]
    measured: Measured | None = None
    key: str = ""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


def _evaluate(config: Config, baseline: Config | None, progress: Progress) -> _Evaluation:
    progress.step("loading the model")
    calibration_run = open_run(config, progress)
    loaded, store = calibration_run.loaded, calibration_run.store
    suites = open_suites(config, loaded, store, config.gate.seed)
    key = _key(config, calibration_run, suites)
    measured, check = measure(calibration_run, config, suites, progress)
    compared: list[Check] = []
    if measured is not None:
        if baseline is not None:
            reference, failure = measure(calibration_run, baseline, suites, progress)
            compared += _compare(measured, reference or failure, "reference", config)
        earlier = _earlier(config, store, key)
        if earlier is not None and earlier.measured is not None:
            compared += _compare(measured, earlier.measured, "earlier", config)
        compared = compared or [_nothing_to_compare(config)]
    return _Evaluation([check, *compared], measured, key, loaded.device)


SKIPPED = Check(
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
    """The gate's seed draws the calibration data, and the questions of suites that are drawn."""
    return replace(
        config,
        calibration=replace(config.calibration, seed=config.calibration.seed + config.gate.seed),
        limit=_questions(config),
    )


def _questions(config: Config) -> int:
    return config.gate.questions if config.limit is None else config.limit


def _compare(
    measured: Measured, other: Measured | Check, role: Role, config: Config
) -> list[Check]:
    """Compare with what was measured of the other, or say why that failed."""
    if isinstance(other, Check):
        detail = f"the reference failed: {other.detail}"
        return [other.model_copy(update={"verdict": "undecided", "detail": detail})]
    return judge(measured, other, config.margin, role=role, more_bits=config.gate.more_bits)


def _nothing_to_compare(config: Config) -> Check:
    detail = (
        f"{config.method.name} has no reference and no earlier run; give baseline=METHOD, or run"
        " the gate again to compare with this run"
    )
    return Check(group="answers", name="comparison", verdict="undecided", detail=detail)


def _key(config: Config, calibration_run: CalibrationRun, suites: Mapping[str, Suite]) -> str:
    """What must be equal for two runs of a method to be compared."""
    data = {name: (suite.data, suite.whole_groups(config.limit)) for name, suite in suites.items()}
    return digest.of_value(
        [
            config.model.name,
            calibration_run.loaded.digest,
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


def _write(run: GateRun, config: Config, key: str) -> None:
    store = Store(Path(config.store))
    store.write_file(_folder(config) / RESULT, to_json(run))
    store.write_file(_folder(config) / REPORT, junit(run))
    if key and run.verdict != "fail":
        store.write_file(store.path("gate", key) / BEFORE, to_json(run))


def _show(run: GateRun, folder: Path, progress: Progress) -> None:
    """Checks of the contract that hold are only counted; the files list them."""
    passed = [
        check for check in run.checks if check.group == "contract" and check.verdict == "pass"
    ]
    rows = [("contract", "pass", f"{len(passed)} checks hold")] if passed else []
    rows += [
        (check.name, check.verdict, check.detail) for check in run.checks if check not in passed
    ]
    progress.table(["check", "verdict", "what was found"], rows, wrap=True)
    versus = f" compared with {run.baseline}" if run.baseline else ""
    progress.message(
        f"gate: {run.verdict.upper()} for {run.method}{versus} on {run.model}, margin"
        f" {run.margin:g}. {folder / RESULT}, {folder / REPORT}"
    )
