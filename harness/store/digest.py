"""Digests: the name of everything in the store is made of what made it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from luq.decoder.blocks import BlockWeights

LENGTH = 24  # hexadecimal digits: 96 bits


def of_value(value: Any) -> str:
    """Digest of canonical JSON: sorted keys, no white space, no NaN.

    Raises ValueError for NaN and TypeError for what JSON cannot say.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]


def of_tensor(tensor: Tensor) -> str:
    """Full SHA-256 of dtype, shape and bytes."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    state = hashlib.sha256(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
    state.update(flat.view(torch.uint8).numpy().data)
    return state.hexdigest()


def of_tensors(tensors: Mapping[str, Tensor]) -> str:
    return of_value({name: of_tensor(tensor) for name, tensor in tensors.items()})


def of_block(weights: BlockWeights) -> str:
    """Digest of what a block stores: formats, headers, packed tensors and changed parameters."""
    linears = {
        name: [w.format, w.header(), of_tensors(w.tensors())] for name, w in weights.linears.items()
    }
    return of_value([linears, of_tensors(weights.changed)])


def of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
