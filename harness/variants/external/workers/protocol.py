"""What a worker reads and writes, and what all workers share.

A worker is a program in an environment of its own; this file needs torch and safetensors alone.

    PYTHON WORKER --model DIR --calibration FILE --out DIR --bits 4 --group 128

`--model` is a transformers folder of a plain causal language model whose vocabulary is the
calibration data: row i of its embedding is what the first decoder block receives for calibration
token i, of text or of a picture. `--calibration` is a safetensors file with `input_ids.00000` and
so on, each (1, tokens) int64. The worker writes two files into `--out`:

weights.safetensors
    `NAME.weight` for every linear of every decoder block, dequantized, (out, in); and, under its
    own name, every other parameter of a block that the method changed.
report.json
    {"library": "name version", "tokens": used, "stored_bytes": {NAME: bytes that the library
    stores for the linear}}
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

BLOCK_LINEARS = (
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)


@dataclass(frozen=True)
class Task:
    """What a worker has to do.

    Attributes:
        model: Folder of the model.
        calibration: File of the calibration sequences.
        out: Folder for the result.
        bits: Bits per weight.
        group: Columns that share a scale.
    """

    model: Path
    calibration: Path
    out: Path
    bits: int
    group: int

    def sequences(self) -> list[torch.Tensor]:
        """The calibration sequences, each (1, tokens) int64."""
        tensors = load_file(self.calibration)
        return [tensors[name] for name in sorted(tensors)]


def read_task() -> Task:
    """The task of this process's command line."""
    parser = argparse.ArgumentParser()
    for name in ("model", "calibration", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in ("bits", "group"):
        parser.add_argument(f"--{name}", type=int, required=True)
    return Task(**vars(parser.parse_args()))


def write_result(
    task: Task,
    library: str,
    tokens: int,
    weights: dict[str, torch.Tensor],
    stored_bytes: dict[str, int],
    changed: dict[str, torch.Tensor],
) -> None:
    """Write both files of the result.

    Args:
        task: What was to be done.
        library: Distribution name of the library.
        tokens: Calibration tokens that the library used.
        weights: Dequantized weights (out, in) by linear, as in `model.layers.0.mlp.up_proj`.
        stored_bytes: What the library stores, by linear.
        changed: Other parameters that the method changed, by name.
    """
    tensors = {
        f"{name}.weight": weight.detach().float().contiguous().clone()
        for name, weight in weights.items()
    }
    tensors |= {
        name: value.detach().float().contiguous().clone() for name, value in changed.items()
    }
    save_file(tensors, task.out / "weights.safetensors")
    report = {
        "library": f"{library} {importlib.metadata.version(library)}",
        "tokens": tokens,
        "stored_bytes": stored_bytes,
    }
    (task.out / "report.json").write_text(json.dumps(report), encoding="utf-8")


def norms(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Weights of the norms of all decoder blocks, by name."""
    return {
        name: p
        for name, p in model.named_parameters()
        if name.startswith("model.layers.") and "layernorm" in name
    }


def unpack_gptq(
    model: torch.nn.Module, bits: int
) -> tuple[dict[str, torch.Tensor], dict[str, int]]:
    """Unpack a model in auto-gptq's format.

    Returns:
        (weights (out, in) float32, stored bytes), each by linear.
    """
    weights, stored = {}, {}
    for name, module in model.named_modules():
        if any(name.endswith(linear) for linear in BLOCK_LINEARS):
            weights[name] = _unpack_layer(module, bits)
            stored[name] = sum(
                t.nbytes for t in (module.qweight, module.qzeros, module.scales, module.g_idx)
            )
    return weights, stored


def _unpack_layer(layer: Any, bits: int) -> torch.Tensor:
    """Weight (out, in) float32 of one linear: codes in a stream of int32 words, zero points stored
    less one.
    """
    codes = _unpack_words(layer.qweight, bits)
    zeros = _unpack_words(layer.qzeros.T, bits).T[:, : codes.shape[1]] + 1
    groups = layer.g_idx.long()
    weight: torch.Tensor = (layer.scales.float()[groups] * (codes - zeros[groups])).T
    return weight


def _unpack_words(words: torch.Tensor, bits: int) -> torch.Tensor:
    """Codes (rows * 32 / bits, columns) in words (rows, columns) int32."""
    stream = (words[:, None, :] >> torch.arange(32, dtype=torch.int32)[None, :, None]) & 1
    codes = stream.reshape(-1, bits, words.shape[1])
    return (codes << torch.arange(bits, dtype=torch.int32)[None, :, None]).sum(dim=1)
