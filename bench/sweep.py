"""`python -m bench`, its part on sweeps: LUQ through the bank versus one quantization a variant."""

from __future__ import annotations

import functools
import statistics
import tempfile
from pathlib import Path

from bench.ratios import Ratio, seconds_of
from harness.config.schema import CalibrationConfig, MethodConfig
from harness.models.load import LoadedModel, load_model
from harness.store.store import Store
from harness.variants.calibration_run import CalibrationRun
from harness.variants.variant import make_variant

TEXT, MIX = 0.0, 0.5
ORDERS = ("depth", "first")  # that need no measurement, so that only quantization is compared


def bench_sweep(repeats: int) -> None:
    """Print what all k, two calibrations and two orders of LUQ cost, and what they cost alone.

    Alone, each variant starts from an empty store; k = 0, half and all are measured, the others
    extrapolated.
    """
    loaded = load_model("mini", "mini", "float32", "cpu")
    blocks = len(loaded.blocks)
    variants = 2 * len(ORDERS) * (blocks + 1)
    together: list[float] = []
    ratios: list[float] = []
    quantized, quantized_alone = 0, 0.0
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            store = Store(Path(folder))
            together.append(seconds_of(functools.partial(_all_variants, loaded, store)))
            quantized = _quantized_linears(loaded, store)
        seconds, quantized_alone = _one_variant(loaded, blocks)
        ratios.append(variants * seconds / together[-1])
    print(
        f"{variants} variants of LUQ (k = 0..{blocks}, 2 calibrations, 2 orders): {quantized}"
        f" linears quantized instead of {round(variants * quantized_alone)}"
        f" ({variants * quantized_alone / quantized:.0f} times fewer; blocks + 1, so 33 at 32"
        f" blocks); {statistics.median(together):.0f} s, one by one / ours: {Ratio.of(ratios)} in"
        " time",
        flush=True,
    )


def _all_variants(loaded: LoadedModel, store: Store) -> None:
    for alpha in (TEXT, MIX):
        run = _run(loaded, store, alpha)
        for order in ORDERS:
            for k in range(len(loaded.blocks) + 1):
                make_variant(run, _luq(k, order))


def _one_variant(loaded: LoadedModel, blocks: int) -> tuple[float, float]:
    """Seconds and quantized linears of one variant from an empty store.

    Means over both calibrations and three k.
    """
    seconds, quantized = [], []
    for alpha in (TEXT, MIX):
        for k in (0, blocks // 2, blocks):
            with tempfile.TemporaryDirectory() as folder:
                store = Store(Path(folder))
                run = _run(loaded, store, alpha)
                make = functools.partial(make_variant, run, _luq(k, ORDERS[0]))
                seconds.append(seconds_of(make))
                quantized.append(_quantized_linears(loaded, store))
    return statistics.fmean(seconds), statistics.fmean(quantized)


def _quantized_linears(loaded: LoadedModel, store: Store) -> int:
    """The bank has an entry for each block that was quantized, with all its linears."""
    return len(loaded.family.linears) * sum(1 for _ in (store.root / "bank").iterdir())


def _run(loaded: LoadedModel, store: Store, alpha: float) -> CalibrationRun:
    calibration = CalibrationConfig(alpha=alpha, tokens=8192, sequence=64)
    return CalibrationRun(loaded, calibration, store)


def _luq(k: int, order: str) -> MethodConfig:
    return MethodConfig(
        name="luq", low={"method": "billm"}, high={"method": "gptq", "bits": 4}, k=k, order=order
    )
