"""`python -m bench`, its part on memory; alone: `python -m bench.memory`.

What a process holds after loading a model dense and packed, and what a packed linear costs in time.
Each model is loaded in a process of its own (`python -m bench.memory --load packed FOLDER`), so
that neither sees the other's memory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from accelerate import init_empty_weights
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from harness.paths import ROOT
from harness.store.bank import from_tensors, to_tensors
from luq import RTN
from luq.decoder.blocks import BlockWeights
from luq.decoder.families import FAMILIES
from luq.decoder.packed_linear import pack_model
from luq.types import QuantizedWeight, stored_bytes

WIDTH, INNER, BLOCKS, VOCABULARY, TOKENS = 2048, 2048 * 11 // 4, 12, 1000, 32
FAMILY = FAMILIES["llama"]
DENSE, REST, META = "dense.safetensors", "rest.safetensors", "blocks.json"


@dataclass(frozen=True)
class Loaded:
    """What one process measures.

    Attributes:
        peak: Bytes of its largest resident size above what the imports take.
        seconds: Of the second forward pass.
        total: Sum of the logits, equal where two models compute the same.
    """

    peak: int
    seconds: float
    total: float


def bench_memory() -> None:
    """Print peak memory and time of a Llama with RTN-4 weights, dense and packed."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        weights, packed_bytes = write_model(folder)
        dense, packed = (_in_own_process(kind, folder) for kind in ("dense", "packed"))
    mib = 2**20
    print(
        f"Memory of {weights / 1e6:.0f} M weights, loaded and run once on {TOKENS} tokens: bfloat16"
        f" {dense.peak / mib:.0f} MiB, RTN-4 packed {packed.peak / mib:.0f} MiB"
        f" ({packed_bytes / mib:.0f} MiB of it stored); ratio {dense.peak / packed.peak:.2f}; a"
        f" forward pass takes {packed.seconds / dense.seconds:.1f} times as long; same outputs:"
        f" {dense.total == packed.total}",
        flush=True,
    )


def write_model(folder: Path) -> tuple[int, int]:
    """Write random weights, quantized with RTN-4, dense and packed.

    Args:
        folder: Where the files go.

    Returns:
        Number of quantized weights, and bytes that they take packed.
    """
    dense: dict[str, Tensor] = {}
    meta: dict[str, object] = {}
    count = size = 0
    for index in range(BLOCKS):
        torch.manual_seed(index)
        linears: dict[str, QuantizedWeight] = {
            name: RTN(4)(torch.randn(shape) * 0.02, None) for name, shape in _shapes().items()
        }
        tensors, meta[str(index)] = to_tensors(BlockWeights(linears))
        save_file(tensors, folder / _block_file(index))
        size += sum(map(stored_bytes, linears.values()))
        for name, packed in linears.items():
            dense[f"model.layers.{index}.{name}.weight"] = packed.dequantize().bfloat16()
            count += packed.shape[0] * packed.shape[1]
    (folder / META).write_text(json.dumps(meta), encoding="utf-8")
    save_file(dense, folder / DENSE)
    save_file({name: tensor.bfloat16() for name, tensor in _other_tensors()}, folder / REST)
    return count, size


def _shapes() -> dict[str, tuple[int, int]]:
    """(out, in) of a block's linears."""
    shapes = dict.fromkeys(FAMILY.linears, (WIDTH, WIDTH))
    up, down = (INNER, WIDTH), (WIDTH, INNER)
    return shapes | {"mlp.gate_proj": up, "mlp.up_proj": up, "mlp.down_proj": down}


def _other_tensors() -> Iterator[tuple[str, Tensor]]:
    """Embeddings, head and norms."""
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        yield name, torch.randn(VOCABULARY, WIDTH)
    for index in range(BLOCKS):
        for norm in ("input", "post_attention"):
            yield f"model.layers.{index}.{norm}_layernorm.weight", torch.ones(WIDTH)
    yield "model.norm.weight", torch.ones(WIDTH)


def _block_file(index: int) -> str:
    return f"block{index}.safetensors"


def _in_own_process(kind: str, folder: Path) -> Loaded:
    command = [sys.executable, "-m", "bench.memory", "--load", kind, str(folder)]
    output = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    return Loaded(**json.loads(output.splitlines()[-1]))


def load(kind: str, folder: Path) -> Loaded:
    """Load what `write_model` wrote and run it, in this process.

    Args:
        kind: `dense` or `packed`.
        folder: Of the files.
    """
    before = _peak_bytes()
    model = _empty_model()
    if kind == "packed":
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
        weights = {
            index: from_tensors(load_file(folder / _block_file(index)), meta[str(index)])
            for index in range(BLOCKS)
        }
        pack_model(model, FAMILY, weights)
    else:
        model.load_state_dict(load_file(folder / DENSE), strict=False, assign=True)
    model.load_state_dict(load_file(folder / REST), strict=False, assign=True)
    ids = torch.arange(TOKENS)[None]
    with torch.inference_mode():
        total = float(model(input_ids=ids).logits.float().sum())
        began = time.perf_counter()
        model(input_ids=ids)
    return Loaded(_peak_bytes() - before, time.perf_counter() - began, total)


def _empty_model() -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=INNER,
        num_hidden_layers=BLOCKS,
        num_attention_heads=16,
    )
    with init_empty_weights(include_buffers=False):
        model = LlamaForCausalLM(config)
    model.eval()
    return model


def _peak_bytes() -> int:
    """The process's largest resident size so far, from the kernel's own count (Linux)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * next(
        int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")
    )


def main() -> None:
    """Print the comparison, or with `--load` what one process measures."""
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__)
    parser.add_argument("--load", choices=("dense", "packed"), help="only load the model of FOLDER")
    parser.add_argument("folder", type=Path, nargs="?", metavar="FOLDER")
    options = parser.parse_args()
    if options.load is None:
        bench_memory()
    elif options.folder is None:
        parser.error("--load needs the folder that a run without it has written")
    else:
        print(json.dumps(asdict(load(options.load, options.folder))))


if __name__ == "__main__":
    main()
