"""Tensors of a store entry: one safetensors file and a manifest with a SHA-256 for each tensor."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from harness.store import digest
from harness.store.atomic import ABSENT
from reports.records.sealed_json import sealed_text, strict_json

MANIFEST = "manifest.json"
TENSORS = "tensors.safetensors"


class CorruptEntry(Exception):
    """An entry does not hold what was written to it."""


def write_tensors(folder: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write tensors and their manifest into a folder.

    Args:
        folder: Exists and holds neither file yet.
        tensors: By name.
        meta: JSON values that the manifest holds besides the digests.

    Raises:
        ValueError: `meta` holds NaN or an infinity.
    """
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / TENSORS)
    hashes = {name: digest.of_tensor(tensor) for name, tensor in tensors.items()}
    manifest = json.dumps({"meta": meta, "sha256": hashes}, allow_nan=False)
    (folder / MANIFEST).write_text(manifest, encoding="utf-8")


def read_verified(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote and check every tensor against the manifest.

    Returns:
        The tensors by name, and `meta`.

    Raises:
        CorruptEntry: A file is absent or a tensor is not the one that was written.
        OSError: A file cannot be read now.
    """
    try:
        manifest = strict_json(sealed_text(folder / MANIFEST, required=True))
        tensors = load_file(folder / TENSORS)
        hashes, meta = manifest["sha256"], manifest["meta"]
    except (*ABSENT, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise CorruptEntry(f"unreadable: {error}") from error
    verify_tensors(tensors, hashes)
    return tensors, meta


def verify_tensors(tensors: Mapping[str, Tensor], hashes: Mapping[str, str]) -> None:
    """Check that exactly the expected tensors are there, byte for byte.

    Args:
        tensors: By name.
        hashes: The SHA-256 of every expected tensor, see `digest.of_tensor`.

    Raises:
        CorruptEntry: Names the first tensor that is missing, unexpected or different.
    """
    if set(tensors) != set(hashes):
        raise CorruptEntry(f"tensors missing or too many: {sorted(set(tensors) ^ set(hashes))[:4]}")
    for name, tensor in tensors.items():
        if digest.of_tensor(tensor) != hashes[name]:
            raise CorruptEntry(f"tensor {name} does not have the SHA-256 of its manifest")
