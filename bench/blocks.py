"""`python -m bench.blocks --model qwen25vl_7b`: peak memory and time of real-sized decoder blocks
on this machine.

A checkpoint with the model's real dimensions, few blocks and random weights is written and goes the
whole way, streamed: calibration, quantization with GPTQ and BiLLM, answers from packed weights.
What was measured is then extrapolated to the whole model.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from harness.cli.main import compose
from harness.config.schema import CalibrationConfig, EntropyConfig
from harness.models.load import LoadedModel, load_model, write_synthetic
from harness.stages.plan import sizes_of
from harness.store.store import Store
from harness.variants.calibration_run import Workbench
from luq.decoder.apply import applied
from luq.decoder.blocks import BlockWeights
from luq.pipelines.bank import quantize_block
from luq.quantizers.registry import build_quantizer
from luq.types import Quantizer, stored_bytes
from reports.report.leaderboard import bytes_text

FULL_TOKENS = 262144
ANSWER_TOKENS = 64
SAMPLING = 0.02  # seconds


@dataclass
class Peak:
    """seconds; host: the most memory that the process held for itself, pages of mapped files not
    counted; device: the same on a GPU.
    """

    seconds: float = 0.0
    host: int = 0
    device: int = 0


@contextmanager
def watched() -> Iterator[Peak]:
    peak, done = Peak(), threading.Event()

    def sample() -> None:
        while not done.wait(SAMPLING):
            peak.host = max(peak.host, anonymous_bytes())

    watcher = threading.Thread(target=sample, daemon=True)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    watcher.start()
    try:
        yield peak
    finally:
        peak.seconds = time.perf_counter() - began
        done.set()
        watcher.join()
        peak.host = max(peak.host, anonymous_bytes())
        peak.device = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0


def anonymous_bytes() -> int:
    """What this process holds in memory that the system cannot drop and read again (Linux)."""
    status = Path("/proc/self/status").read_text()
    return 1024 * next(
        int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon")
    )


@dataclass(frozen=True)
class Measured:
    """quantizing: by method, of the last block. sizes: bytes of that block by method. program: host
    memory before anything was loaded.
    """

    program: int
    loading: Peak
    capturing: Peak
    quantizing: dict[str, Peak]
    answering: Peak
    sizes: dict[str, int]
    tokens: int


QUANTIZERS: dict[str, Callable[[], Quantizer]] = {
    "gptq-4": functools.partial(build_quantizer, "gptq", {"bits": 4}),
    "billm": functools.partial(build_quantizer, "billm", {}),
}


def measure(folder: Path, store: Path, dtype: str, tokens: int) -> Measured:
    """folder: of a model. The first method of a block also factorizes its Hessians."""
    program = anonymous_bytes()
    with watched() as loading:
        loaded = load_model("synthetic", str(folder), dtype, "auto", streamed=True)
    calibration = CalibrationConfig(alpha=0, tokens=tokens, sequence=min(tokens, 2048))
    bench = Workbench(loaded, calibration, EntropyConfig(), Store(store))
    found: dict[int, dict[str, BlockWeights]] = {}
    quantizing: dict[str, Peak] = {}
    captures = bench.captures()
    for index, block in enumerate(loaded.blocks):
        with watched() as capturing:
            capture = next(captures)
        for name, quantizer in QUANTIZERS.items():
            with watched() as quantizing[name]:
                made = quantize_block(
                    block,
                    loaded.family,
                    quantizer(),
                    capture.stats[0],
                    f"block {index}",
                    capture.inputs,
                )
            found.setdefault(index, {})[name] = made
        del capture
    sizes = {
        name: sum(map(stored_bytes, entry.linears.values()))
        for name, entry in found[len(loaded.blocks) - 1].items()
    }
    low_first = {i: entries["billm" if i % 2 == 0 else "gptq-4"] for i, entries in found.items()}
    del found, captures
    with watched() as answering:
        _answer(loaded, low_first)
    return Measured(program, loading, capturing, quantizing, answering, sizes, bench.data.tokens)


@torch.inference_mode()
def _answer(loaded: LoadedModel, weights: dict[int, BlockWeights]) -> None:
    """A picture-sized prompt and one token of an answer, from packed weights."""
    ids = torch.arange(1, ANSWER_TOKENS + 1, device=loaded.device)[None]
    with applied(loaded.model, loaded.family, weights, packed=True):
        loaded.model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=2, do_sample=False
        )


def told(name: str, found: Measured, blocks: int, path: str) -> list[str]:
    """What was measured, and what follows for the whole model."""
    sizes = sizes_of(path, None)
    places = ("host", "device") if torch.cuda.is_available() else ("host",)
    lines = [
        f"{name}: {blocks} of {sizes.blocks} blocks, {found.tokens:,} calibration tokens,"
        f" {torch.get_num_threads()} threads"
    ]

    def peaks(peak: Peak) -> str:
        return ", ".join(f"{place} {bytes_text(getattr(peak, place))}" for place in places)

    lines.append(f"  program alone: host {bytes_text(found.program)}")
    lines.append(f"  opening the checkpoint: {peaks(found.loading)}, {found.loading.seconds:.1f} s")
    lines.append(
        f"  one block, forward and Hessians: {peaks(found.capturing)},"
        f" {found.capturing.seconds:.1f} s"
    )
    for method, peak in found.quantizing.items():
        lines.append(
            f"  one block, {method}: {peaks(peak)}, {peak.seconds:.1f} s, packed"
            f" {bytes_text(found.sizes[method])}"
        )
    lines.append(
        f"  answering from packed weights: {peaks(found.answering)},"
        f" {found.answering.seconds:.1f} s"
    )
    forward = found.capturing.seconds * FULL_TOKENS / found.tokens
    total = sizes.blocks * (forward + sum(peak.seconds for peak in found.quantizing.values()))
    lines.append(
        f"  extrapolated to {sizes.blocks} blocks and {FULL_TOKENS:,} tokens: {total / 3600:.1f} h"
        " on this machine, of which forward passes and Hessians"
        f" {sizes.blocks * forward / 3600:.1f} h; activations of {FULL_TOKENS:,} tokens add"
        f" {bytes_text(2 * FULL_TOKENS * sizes.hidden * 2)} on the host"
    )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--model", action="append", help="llava15_7b or qwen25vl_7b; both unless told otherwise"
    )
    parser.add_argument("--blocks", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=2048)
    arguments = parser.parse_args()
    for name in arguments.model or ["llava15_7b", "qwen25vl_7b"]:
        config: Any = compose([f"model={name}"]).model
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "model"
            write_synthetic(folder, config.path, config.dtype, arguments.blocks)
            found = measure(folder, Path(temporary) / "store", config.dtype, arguments.tokens)
            print("\n".join(told(name, found, arguments.blocks, config.path)))


if __name__ == "__main__":
    main()
