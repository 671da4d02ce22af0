"""stage=entropy, stability, orders: measurements of the decoder blocks, without any answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from harness.errors import ConfigError
from harness.progress import Progress
from harness.stages.base import Job, Outcome
from harness.store import digest
from harness.store.records import save_measurement
from harness.store.store import Store
from harness.trackers.guarded import tracked
from harness.trackers.values import measurement_table
from harness.variants.block_entropy import block_entropies, entropy_settings, stability
from harness.variants.block_scores import damage_samples, measures
from harness.variants.calibration_run import CalibrationRun, open_run
from harness.variants.quantizers import build, quantizer_name
from harness.variants.weights import BankWeights
from luq.allocation.orders import ORDERS, block_score, coinciding
from luq.calibration.stability import seed_agreement
from luq.types import QuantizationError
from reports.records.measurements import Correlation, Entropy, Measurement, Orders, Stability
from reports.statistics.ranks import rank_correlation


def run(jobs: Sequence[Job], progress: Progress) -> Outcome:
    """Make the measurement of every job; one with a layer that cannot be quantized has failed."""
    return sum((_measure(job, progress) for job in jobs), Outcome())


def _measure(job: Job, progress: Progress) -> Outcome:
    config = job.config
    progress.step(f"measuring {config.stage}")
    calibration_run = open_run(config, progress)
    try:
        measurement = _MEASUREMENTS[config.stage](calibration_run, job)
    except QuantizationError as error:
        progress.message(f"FAILED {config.stage}: {error}")
        return Outcome(failed=1)
    keep(calibration_run.store, measurement)
    name = f"{config.stage} of {config.model.name}"
    with tracked(config, config.stage, name, job.sweep) as tracker:
        tracker.table(config.stage, *measurement_table(measurement))
    progress.message(_summary(measurement))
    progress.finish_cell(config.stage, "done")
    return Outcome()


def keep(store: Store, measurement: Measurement) -> None:
    """Store a measurement in place of an earlier one of the same question."""
    values = measurement.model_dump(mode="json")
    question = {name: values[name] for name in _QUESTION if name in values}
    save_measurement(store, digest.of_value(question), measurement)


_QUESTION = (
    "kind",
    "model",
    "alpha",
    "calibration_seed",
    "at",
    "of_tokens",
    "drop",
    "clusters",
    "init",
    "grid",
    "low",
    "method",
    "order",
    "inputs",
    "rule",
    "suite",
    "split",
    "threshold",
    "relative",
    "budget_bytes",
)


def origin(calibration_run: CalibrationRun, job: Job) -> dict[str, Any]:
    """What every measurement says of its calibration."""
    config = job.config.calibration
    return {
        "model": job.config.model.name,
        "alpha": config.alpha,
        "calibration_seed": config.seed,
        "command": job.command,
        "tokens": calibration_run.data.tokens,
        "image_token_share": calibration_run.data.image_token_share,
    }


def _entropy(calibration_run: CalibrationRun, job: Job) -> Entropy:
    setting = entropy_settings(calibration_run, job.config.entropy)
    bits = block_entropies(calibration_run, setting)
    return Entropy(
        **origin(calibration_run, job),
        at=setting.at,
        of_tokens=setting.tokens,
        drop=setting.drop,
        clusters=int(setting.clusters),
        init=setting.init,
        bits=bits,
        seed_tau=seed_agreement(list(zip(*bits, strict=True))),
    )


def _stability(calibration_run: CalibrationRun, job: Job) -> Stability:
    setting = job.config.entropy
    entropies, changes, chosen = stability(calibration_run, setting)
    taus = [seed_agreement(list(zip(*bits, strict=True))) for bits in entropies]
    return Stability(
        **origin(calibration_run, job),
        grid=setting.grid,
        changes=changes,
        seed_tau=taus,
        seeds=setting.seeds,
        clusters=chosen.clusters,
        rule=chosen.rule,
    )


def _orders(calibration_run: CalibrationRun, job: Job) -> Orders:
    low = build(job.config.method.low, "method.low")
    if low is None:
        raise ConfigError(
            "stage=orders compares scores with the damage of a low method; choose a method that has"
            " one, such as method=luq"
        )
    bank = BankWeights(calibration_run, job.config.workers)
    samples = damage_samples(calibration_run, bank, low)
    blocks = len(calibration_run.loaded.blocks)
    measured = measures(calibration_run, bank, low, job.config.entropy)
    scores = {
        name: block_score(name, blocks, measured)
        for name in ORDERS
        if name not in ("random", "entropy_reverse")
    }
    orders = {
        name: sorted(range(blocks), key=lambda i: (values[i], i)) for name, values in scores.items()
    }
    pairs = [(a, b) for a in orders for b in orders if a < b]
    return Orders(
        **origin(calibration_run, job),
        low=quantizer_name(job.config.method.low),
        answers=samples.shape[1],
        scores=scores,
        orders=orders,
        correlations={
            name: Correlation(**asdict(rank_correlation(values, samples.numpy())))
            for name, values in scores.items()
            if name != "damage"
        },
        same_sets=[(a, b, coinciding(orders[a], orders[b])) for a, b in pairs],
    )


def _summary(measurement: Measurement) -> str:
    if isinstance(measurement, Entropy):
        means = ", ".join(f"{sum(seeds) / len(seeds):.2f}" for seeds in measurement.bits)
        drop = f" without the largest {measurement.drop:.1%}" if measurement.drop else ""
        return (
            f"entropy at {measurement.at} of {measurement.of_tokens} tokens{drop}, "
            f"K={measurement.clusters}: {means} bits; tau between seeds {measurement.seed_tau:.2f}"
        )
    if isinstance(measurement, Stability):
        grid = measurement.grid
        return (
            f"stability over K = {grid[0]}..{grid[-1]}: K = {measurement.clusters} "
            f"({measurement.rule})"
        )
    if isinstance(measurement, Orders):
        each = ", ".join(
            f"{name} {c.rho:+.2f} [{c.low:+.2f}, {c.high:+.2f}]"
            for name, c in measurement.correlations.items()
        )
        return f"rank correlation with the measured damage of {measurement.low}: {each}"
    return measurement.text


_MEASUREMENTS: dict[str, Callable[[CalibrationRun, Job], Measurement]] = {
    "entropy": _entropy,
    "stability": _stability,
    "orders": _orders,
}
