"""Load a packed model folder, written by `stage=export`, without ever holding its dense weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from harness.errors import ConfigError
from harness.store.bank import from_tensors
from harness.store.tensors import MANIFEST, TENSORS, CorruptEntry, verify_tensors
from luq.decoder.blocks import BlockWeights
from luq.decoder.families import find_family
from luq.decoder.packed_linear import pack_model
from luq.types import QuantizationError
from reports.records.sealed_json import strict_json

FORMAT = "luq-packed-1"


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a packed model folder; {} where the folder has none or holds something else."""
    try:
        manifest = strict_json((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) and manifest.get("format") == FORMAT else {}


def load_packed(folder: Path, dtype: str, build: Callable[[], Any]) -> Any:
    """The model with `PackedLinear`s. build: makes the transformers model from its configuration;
    its parameters are never allocated.

    Every tensor is checked against the manifest first. Raises ConfigError that names a damaged
    tensor or a parameter that is missing.
    """
    manifest = read_manifest(folder)
    try:
        tensors = load_file(folder / TENSORS)
        verify_tensors(tensors, manifest["sha256"])
        weights = {
            int(index): _block(index, meta, tensors) for index, meta in manifest["blocks"].items()
        }
    except (
        CorruptEntry,
        QuantizationError,
        SafetensorError,
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
    ) as error:
        raise ConfigError(f"{folder} is damaged: {error}. Export the model again") from error
    with init_empty_weights(include_buffers=False):
        model = build()
    pack_model(model, find_family(model), weights)
    dense = {
        name: tensor.to(getattr(torch, dtype))
        for name, tensor in tensors.items()
        if not name.startswith("packed.")
    }
    unexpected = model.load_state_dict(dense, strict=False, assign=True).unexpected_keys
    model.tie_weights()
    missing = [name for name, parameter in model.named_parameters() if parameter.is_meta]
    if missing or unexpected:
        raise ConfigError(
            f"{folder} does not fit its own configuration: missing {missing[:3]}, unexpected"
            f" {unexpected[:3]}"
        )
    return model


def _block(index: str, meta: dict[str, Any], tensors: dict[str, Tensor]) -> BlockWeights:
    prefix = f"packed.{index}."
    return from_tensors(
        {
            name.removeprefix(prefix): tensor
            for name, tensor in tensors.items()
            if name.startswith(prefix)
        },
        meta,
    )
