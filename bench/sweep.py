"""What a sweep costs here against one quantization for each variant, and what asking costs against
lmms-eval's own loop.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import statistics
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from lmms_eval.evaluator import evaluate as lmms_evaluate

from harness.config.schema import CalibrationConfig, EntropyConfig, MethodConfig
from harness.evaluation.inputs import Prepared
from harness.evaluation.lmms_model import LuqModel
from harness.evaluation.picture_suite import Suite, evaluate_suite, load_suites, mini_data
from harness.models.load import LoadedModel, load_model
from harness.paths import EMBEDDED
from harness.store.store import Store
from harness.variants.calibration_run import Workbench
from luq.pipelines import bank

TEXT, MIX = 0.0, 0.5
ORDERS = ("depth", "first")  # that need no measurement, so that only quantization is compared
QUESTIONS = 256
# The embedded model's prompt for a wrapper that puts the picture's token into the question itself.
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}USER: {{ message['content'] }} {% endfor"
    " %}ASSISTANT:"
)


def bench_sweep(repeats: int) -> None:
    """All k, two calibrations and two orders of LUQ, quantized through the bank and one by one (k =
    0, half and all, extrapolated).
    """
    loaded = load_model("mini", "mini", "float32", "cpu")
    blocks = len(loaded.blocks)
    variants = 2 * len(ORDERS) * (blocks + 1)
    times, layers = [], 0
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            seconds, layers = _counted(
                lambda folder=folder: _all_variants(loaded, Store(Path(folder)))
            )  # type: ignore[misc]
        times.append((seconds, _one_by_one(loaded, blocks)))
    ratios = [variants * alone[0] / together for together, alone in times]
    alone_layers = times[0][1][1]
    together = statistics.median(t for t, _ in times)
    print(
        f"{variants} variants of LUQ (k = 0..{blocks}, 2 calibrations, 2 orders): {layers} layer"
        f" quantizations instead of {round(variants * alone_layers)}"
        f" ({variants * alone_layers / layers:.0f} times fewer; blocks + 1, so 33 at 32 blocks);"
        f" {together:.0f} s, one by one / ours: {statistics.median(ratios):.1f} ({min(ratios):.1f}"
        f" to {max(ratios):.1f}) in time",
        flush=True,
    )


def _all_variants(loaded: LoadedModel, store: Store) -> None:
    for alpha in (TEXT, MIX):
        bench = _workbench(loaded, store, alpha)
        for order in ORDERS:
            for k in range(len(loaded.blocks) + 1):
                bench.variant(_luq(k, order))


def _one_by_one(loaded: LoadedModel, blocks: int) -> tuple[float, float]:
    """(seconds, layer quantizations) of one variant from an empty store, a mean over both
    calibrations and three k.
    """
    seconds, layers = [], []
    for alpha in (TEXT, MIX):
        for k in (0, blocks // 2, blocks):
            with tempfile.TemporaryDirectory() as folder:
                bench = _workbench(loaded, Store(Path(folder)), alpha)
                spent, count = _counted(lambda bench=bench, k=k: bench.variant(_luq(k, ORDERS[0])))  # type: ignore[misc]
            seconds.append(spent)
            layers.append(count)
    return statistics.fmean(seconds), statistics.fmean(layers)


def _counted(run: Callable[[], object]) -> tuple[float, int]:
    """(seconds, linears that were quantized)."""
    real, made = bank.quantize_block, 0

    def counting(*arguments: Any) -> Any:
        nonlocal made
        entry = real(*arguments)
        made += len(entry.linears)
        return entry

    began = time.perf_counter()
    with mock.patch.object(bank, "quantize_block", counting):
        run()
    return time.perf_counter() - began, made


def _workbench(loaded: LoadedModel, store: Store, alpha: float) -> Workbench:
    return Workbench(
        loaded, CalibrationConfig(alpha=alpha, tokens=8192, sequence=64), EntropyConfig(), store
    )


def _luq(k: int, order: str) -> MethodConfig:
    return MethodConfig(
        name="luq", low={"method": "billm"}, high={"method": "gptq", "bits": 4}, k=k, order=order
    )


def bench_asking(repeats: int) -> None:
    """Questions of GQA through lmms-eval: its own llava_hf wrapper at batch 1, ours at batch 64 for
    a model's first variant and for later ones. The answers must be the same.
    """
    loaded = load_model("mini", "mini", "float32", "cpu")
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        suite = load_suites(
            "mini", ("mini_gqa",), loaded.family.name, mini_data(store, ["mini_gqa"])
        )["mini_gqa"]
        theirs = _llava_hf()
        first: list[float] = []
        later: list[float] = []
        answers: set[tuple[str, ...]] = set()
        for number in range(repeats):
            began = time.perf_counter()
            answers.add(_answers_of(theirs, suite))
            plain = time.perf_counter() - began
            fresh = dataclasses.replace(loaded, prepared=Prepared())
            for ratios in (first, later):
                began = time.perf_counter()
                lm = LuqModel(loaded=fresh, batch_size=64)
                _, result = evaluate_suite(
                    store,
                    lm,
                    suite,
                    variant=f"{number}-{len(later)}-{ratios is later}",
                    limit=QUESTIONS,
                    max_error_share=0.0,
                )
                ratios.append(plain / (time.perf_counter() - began))
                answers.add(tuple(a.response for a in result.answers))
    for what, ratios in (("a model's first variant", first), ("later variants", later)):
        told = f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"
        print(
            f"{QUESTIONS} questions of GQA, lmms-eval's llava_hf at batch 1 / ours, {what}: {told};"
            f" same answers: {len(answers) == 1}",
            flush=True,
        )


def _answers_of(lm: Any, suite: Suite) -> tuple[str, ...]:
    arguments = argparse.Namespace(process_with_media=False, output_path=None, reasoning_tags=None)
    lm.task_dict = {suite.name: suite.task.dataset}
    with _silent():
        output = lmms_evaluate(
            lm,
            {suite.name: suite.task},
            limit=QUESTIONS,
            bootstrap_iters=0,
            log_samples=True,
            cli_args=arguments,
            verbosity="ERROR",
            process_docs_parallel=1,
        )
    samples = sorted(output["samples"][suite.name], key=lambda sample: int(sample["doc_id"]))
    return tuple(str(sample["filtered_resps"][0]).strip() for sample in samples)


def _llava_hf() -> Any:
    """lmms-eval's own wrapper.

    It imports decord, a reader of videos that it does not need here and that it does not require.
    """
    if "decord" not in sys.modules:
        decord = types.ModuleType("decord")
        decord.VideoReader = decord.cpu = None  # type: ignore[attr-defined]
        sys.modules["decord"] = decord
    from lmms_eval.models.simple.llava_hf import LlavaHf

    class Kept(LlavaHf):
        def clean(self) -> None:
            """lmms-eval would delete the model after the first run."""

    with _silent():
        return Kept(
            pretrained=str(EMBEDDED),
            device="cpu",
            device_map="cpu",
            dtype="float32",
            batch_size=1,
            chat_template=TEMPLATE,
        )


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
