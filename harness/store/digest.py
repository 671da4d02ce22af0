"""Digests: every entry of the store is named by what it was made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from luq.decoder.blocks import BlockWeights

LENGTH = 24  # hexadecimal digits: 96 bits


def of_value(value: Any) -> str:
    """SHA-256 of canonical JSON: sorted keys, no white space, no NaN; its first LENGTH digits.

    Raises:
        ValueError: The value holds NaN or an infinity.
        TypeError: JSON cannot represent the value.
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
    """Digest of tensors and their names."""
    return of_value({name: of_tensor(tensor) for name, tensor in tensors.items()})


def of_block(weights: BlockWeights) -> str:
    """Digest of what a block stores: formats, headers, packed tensors and changed parameters."""
    linears = {
        name: [weight.format, weight.header(), of_tensors(weight.tensors())]
        for name, weight in weights.linears.items()
    }
    return of_value([linears, of_tensors(weights.changed)])


def of_picture(picture: Image.Image) -> str:
    """Full SHA-256 of the size and the pixels of a picture, whatever file it came from."""
    return hashlib.sha256(f"{picture.size}".encode() + picture.tobytes()).hexdigest()


def of_file(path: Path) -> str:
    """Full SHA-256 of a file.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
