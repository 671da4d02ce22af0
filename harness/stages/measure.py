"""The stages that look at the blocks and not at answers: entropy, stability of the ranking, orders
against measured damage.
"""

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
from harness.trackers.guarded import measurement_table, tracked
from harness.variants.block_entropy import block_entropies, entropy_settings, stability
from harness.variants.block_scores import damage_samples, measures
from harness.variants.calibration_run import CalibrationRun, open_run
from harness.variants.quantizers import build, quantizer_name
from harness.variants.weights import BankWeights
from luq.allocation.orders import ORDERS, block_score, coinciding
from luq.calibration.stability import seed_agreement
from luq.types import QuantizationError
from reports.records.measurements import Correlation, Entropy, Measurement, Orders, Stability
from reports.statistics.estimate import rank_correlation


def run(jobs: Sequence[Job], progress: Progress) -> Outcome:
    """Make the measurement of every job; one with a layer that cannot be quantized has failed."""
    return sum((_measure(job, progress) for job in jobs), Outcome())


def _measure(job: Job, progress: Progress) -> Outcome:
    config = job.config
    progress.step(f"measuring {config.stage}")
    bench = open_run(config, progress)
    try:
        found = _STAGES[config.stage](bench, job)
    except QuantizationError as error:
        progress.message(f"FAILED {config.stage}: {error}")
        return Outcome(failed=1)
    keep(bench.store, found)
    with tracked(
        config, config.stage, f"{config.stage} of {config.model.name}", job.sweep
    ) as tracker:
        tracker.table(config.stage, *measurement_table(found))
    progress.message(_title(found))
    progress.finish_cell(config.stage, "done")
    return Outcome()


def keep(store: Store, found: Measurement) -> None:
    """One entry for each question that was asked: an answer of today replaces an earlier one."""
    values = found.model_dump(mode="json")
    asked = {name: values[name] for name in _QUESTION if name in values}
    save_measurement(store, digest.of_value(asked), found)


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


def origin(bench: CalibrationRun, job: Job) -> dict[str, Any]:
    """What every measurement says of its calibration."""
    config = job.config.calibration
    return {
        "model": job.config.model.name,
        "alpha": config.alpha,
        "calibration_seed": config.seed,
        "command": job.command,
        "tokens": bench.data.tokens,
        "image_token_share": bench.data.image_token_share,
    }


def _entropy(bench: CalibrationRun, job: Job) -> Entropy:
    setting = entropy_settings(bench, job.config.entropy)
    bits = block_entropies(bench, setting)
    return Entropy(
        **origin(bench, job),
        at=setting.at,
        of_tokens=setting.tokens,
        drop=setting.drop,
        clusters=int(setting.clusters),
        init=setting.init,
        bits=bits,
        seed_tau=seed_agreement(list(zip(*bits, strict=True))),
    )


def _stability(bench: CalibrationRun, job: Job) -> Stability:
    setting = job.config.entropy
    found, changes, chosen = stability(bench, setting)
    taus = [seed_agreement(list(zip(*bits, strict=True))) for bits in found]
    return Stability(
        **origin(bench, job),
        grid=setting.grid,
        changes=changes,
        seed_tau=taus,
        seeds=setting.seeds,
        clusters=chosen.clusters,
        rule=chosen.rule,
    )


def _orders(bench: CalibrationRun, job: Job) -> Orders:
    low = build(job.config.method.low, "method.low")
    if low is None:
        raise ConfigError(
            "stage=orders compares scores with the damage of a low method; choose a method that has"
            " one, such as method=luq"
        )
    bank = BankWeights(bench, job.config.workers)
    samples = damage_samples(bench, bank, low)
    blocks = len(bench.loaded.blocks)
    known = measures(bench, bank, low, job.config.entropy)
    scores = {
        name: block_score(name, blocks, known)
        for name in ORDERS
        if name not in ("random", "entropy_reverse")
    }
    orders = {
        name: sorted(range(blocks), key=lambda i: (values[i], i)) for name, values in scores.items()
    }
    pairs = [(a, b) for a in orders for b in orders if a < b]
    return Orders(
        **origin(bench, job),
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


def _title(found: Measurement) -> str:
    if isinstance(found, Entropy):
        means = [sum(seeds) / len(seeds) for seeds in found.bits]
        what = f"entropy at {found.at} of {found.of_tokens} tokens" + (
            f" without the largest {found.drop:.1%}" if found.drop else ""
        )
        return (
            f"{what}, K={found.clusters}: {', '.join(f'{m:.2f}' for m in means)} bits; tau between"
            f" seeds {found.seed_tau:.2f}"
        )
    if isinstance(found, Stability):
        return (
            f"stability over K = {found.grid[0]}..{found.grid[-1]}: K = {found.clusters}"
            f" ({found.rule})"
        )
    if isinstance(found, Orders):
        told = (
            f"{name} {c.rho:+.2f} [{c.low:+.2f}, {c.high:+.2f}]"
            for name, c in found.correlations.items()
        )
        return f"rank correlation with the measured damage of {found.low}: {', '.join(told)}"
    return found.text


_STAGES: dict[str, Callable[[CalibrationRun, Job], Measurement]] = {
    "entropy": _entropy,
    "stability": _stability,
    "orders": _orders,
}
