"""`python -m bench.blocks --model qwen25vl_7b`: memory and time of real-sized decoder blocks.

A checkpoint with the model's real dimensions, few blocks and random weights is written and goes
through every step, streamed: calibration, quantization with GPTQ and BiLLM, answers from packed
weights. The measurements are then extrapolated to the full model on this machine.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from harness.config.compose import compose
from harness.config.schema import CalibrationConfig
from harness.models.load import LoadedModel, load_model, write_synthetic
from harness.store.store import Store
from harness.variants.calibration_run import CalibrationRun
from harness.variants.sizes import sizes_of
from luq.decoder.apply import applied
from luq.decoder.blocks import BlockWeights
from luq.pipelines.bank import quantize_block
from luq.quantizers.registry import build_quantizer
from luq.types import Quantizer, stored_bytes
from reports.report.lines import bytes_text

MODELS = ("llava15_7b", "qwen25vl_7b")
FULL_TOKENS = 262144
ANSWER_TOKENS = 64
SAMPLING = 0.02  # seconds
QUANTIZERS: Mapping[str, Callable[[], Quantizer]] = {
    "gptq-4": functools.partial(build_quantizer, "gptq", {"bits": 4}),
    "billm": functools.partial(build_quantizer, "billm", {}),
}


@dataclass
class Peak:
    """What one step takes.

    Attributes:
        seconds: Of wall-clock time.
        host: Most bytes that the process holds for itself, without pages of mapped files.
        device: Most bytes allocated on the GPU, 0 without one.
    """

    seconds: float = 0.0
    host: int = 0
    device: int = 0


@contextmanager
def watched() -> Iterator[Peak]:
    """Measure the enclosed step; the Peak is filled in at its end."""
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
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * next(
        int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon")
    )


@dataclass(frozen=True)
class Measured:
    """What `measure` measures.

    Attributes:
        program: Bytes of host memory before anything is loaded.
        loading: Opening the checkpoint.
        capturing: Forward pass and Hessians of the last block.
        quantizing: Of the last block, by method.
        answering: A prompt and two tokens, from packed weights.
        sizes: Stored bytes of the last block, by method.
        tokens: Of the calibration data.
    """

    program: int
    loading: Peak
    capturing: Peak
    quantizing: Mapping[str, Peak]
    answering: Peak
    sizes: Mapping[str, int]
    tokens: int


def measure(folder: Path, store: Path, dtype: str, tokens: int) -> Measured:
    """Calibrate, quantize and run a small checkpoint, block by block.

    Every second block answers with BiLLM's weights, the others with GPTQ's. The first method of a
    block also factorizes its Hessians.

    Args:
        folder: Of the checkpoint.
        store: Folder for what is stored.
        dtype: Of the weights in memory.
        tokens: Of the calibration data.
    """
    program = anonymous_bytes()
    with watched() as loading:
        loaded = load_model("synthetic", str(folder), dtype, "auto", streamed=True)
    calibration = CalibrationConfig(alpha=0, tokens=tokens, sequence=min(tokens, 2048))
    run = CalibrationRun(loaded, calibration, Store(store))
    mixed: dict[int, BlockWeights] = {}
    quantizing: dict[str, Peak] = {}
    sizes: dict[str, int] = {}
    captures = run.captures()
    for index, block in enumerate(loaded.blocks):
        with watched() as capturing:
            capture = next(captures)
        for name, quantizer in QUANTIZERS.items():
            with watched() as quantizing[name]:
                quantized = quantize_block(
                    block,
                    loaded.family,
                    quantizer(),
                    capture.stats[0],
                    f"block {index}",
                    capture.inputs,
                )
            sizes[name] = sum(map(stored_bytes, quantized.linears.values()))
            if name == ("billm" if index % 2 == 0 else "gptq-4"):
                mixed[index] = quantized
        del capture, quantized
    del captures
    with watched() as answering:
        _answer(loaded, mixed)
    return Measured(program, loading, capturing, quantizing, answering, sizes, run.data.tokens)


@torch.inference_mode()
def _answer(loaded: LoadedModel, weights: Mapping[int, BlockWeights]) -> None:
    """A picture-sized prompt and two tokens of an answer, from packed weights."""
    ids = torch.arange(1, ANSWER_TOKENS + 1, device=loaded.device)[None]
    with applied(loaded.model, loaded.family, weights, packed=True):
        loaded.model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=2, do_sample=False
        )


def report_lines(name: str, measured: Measured, blocks: int, path: str) -> list[str]:
    """The measurements, and what follows for the full model.

    Args:
        name: Of the model.
        measured: Of its first blocks.
        blocks: How many were measured.
        path: Of the model, whose real dimensions are known.
    """
    sizes = sizes_of(path, None)
    lines = [
        f"{name}: {blocks} of {sizes.blocks} blocks, {measured.tokens:,} calibration tokens,"
        f" {torch.get_num_threads()} threads",
        f"  program alone: host {bytes_text(measured.program)}",
        f"  opening the checkpoint: {_peak_text(measured.loading)}",
        f"  one block, forward and Hessians: {_peak_text(measured.capturing)}",
    ]
    lines += [
        f"  one block, {method}: {_peak_text(peak)}, packed {bytes_text(measured.sizes[method])}"
        for method, peak in measured.quantizing.items()
    ]
    lines.append(f"  answering from packed weights: {_peak_text(measured.answering)}")
    forward = measured.capturing.seconds * FULL_TOKENS / measured.tokens
    total = sizes.blocks * (forward + sum(peak.seconds for peak in measured.quantizing.values()))
    lines.append(
        f"  extrapolated to {sizes.blocks} blocks and {FULL_TOKENS:,} tokens: {total / 3600:.1f} h"
        " on this machine, of which forward passes and Hessians"
        f" {sizes.blocks * forward / 3600:.1f} h; activations of {FULL_TOKENS:,} tokens add"
        f" {bytes_text(2 * FULL_TOKENS * sizes.hidden * 2)} on the host"
    )
    return lines


def _peak_text(peak: Peak) -> str:
    device = f", device {bytes_text(peak.device)}" if torch.cuda.is_available() else ""
    return f"host {bytes_text(peak.host)}{device}, {peak.seconds:.1f} s"


def main() -> None:
    """Print the report of each model."""
    parser = argparse.ArgumentParser(prog="python -m bench.blocks", description=__doc__)
    parser.add_argument(
        "--model", action="append", help=f"{' or '.join(MODELS)}; both by default; may be repeated"
    )
    parser.add_argument("--blocks", type=int, default=1, help="of the checkpoint that is written")
    parser.add_argument("--tokens", type=int, default=2048, help="of the calibration data")
    arguments = parser.parse_args()
    for name in arguments.model or MODELS:
        config = compose([f"model={name}"]).model
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "model"
            write_synthetic(folder, config.path, config.dtype, arguments.blocks)
            measured = measure(folder, Path(temporary) / "store", config.dtype, arguments.tokens)
            print("\n".join(report_lines(name, measured, arguments.blocks, config.path)))


if __name__ == "__main__":
    main()
