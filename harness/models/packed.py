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
from harness.models.fit import require_fit
from harness.store.bank import from_tensors
from harness.store.tensors import MANIFEST, TENSORS, CorruptEntry, verify_tensors
from luq.decoder.blocks import BlockWeights
from luq.decoder.families import decoder_blocks, find_family
from luq.decoder.packed_linear import pack_model
from luq.types import QuantizationError, UnknownFormat
from reports.records.sealed_json import strict_json

FORMAT = "luq-packed-1"
_PACKED = "packed."


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a packed model folder; {} where the folder has none, or another format's."""
    try:
        manifest = strict_json((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) and manifest.get("format") == FORMAT else {}


def load_packed(folder: Path, dtype: str, build: Callable[[], Any]) -> Any:
    """Load a model whose quantized linears are `PackedLinear`s.

    Every tensor is checked against the manifest first.

    Args:
        folder: What `stage=export` wrote.
        dtype: Of the parameters that are not packed.
        build: Makes the model of transformers from its configuration. Its parameters are never
            allocated.

    Raises:
        ConfigError: Names a damaged tensor, or a parameter that is missing.
    """
    tensors, weights = _read_verified(folder)
    with init_empty_weights(include_buffers=False):
        model = build()
    family = find_family(model)
    blocks = len(decoder_blocks(model, family))
    surplus = {f"{family.blocks}.{index}" for index in weights if not 0 <= index < blocks}
    surplus |= {
        name
        for name in tensors
        if name.startswith(_PACKED) and name.split(".")[1] not in map(str, weights)
    }
    require_fit(str(folder), {"unexpected_keys": surplus})
    pack_model(model, family, weights)
    dense = {
        name: tensor.to(getattr(torch, dtype))
        for name, tensor in tensors.items()
        if not name.startswith(_PACKED)
    }
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    mismatched = {
        (name, tuple(tensor.shape), tuple(shapes[name]))
        for name, tensor in dense.items()
        if name in shapes and tensor.shape != shapes[name]
    }
    require_fit(str(folder), {"mismatched_keys": mismatched})
    loaded = model.load_state_dict(dense, strict=False, assign=True)
    model.tie_weights()
    missing = {name for name, parameter in model.named_parameters() if parameter.is_meta}
    missing |= {name for name, _ in model.named_buffers()} & set(loaded.missing_keys)
    require_fit(str(folder), {"missing_keys": missing, "unexpected_keys": loaded.unexpected_keys})
    return model


def _read_verified(folder: Path) -> tuple[dict[str, Tensor], dict[int, BlockWeights]]:
    """(all tensors of a folder, its packed weights by block)."""
    manifest = read_manifest(folder)
    try:
        tensors = load_file(folder / TENSORS)
        verify_tensors(tensors, manifest["sha256"])
        return tensors, {
            int(index): _packed_block(index, meta, tensors)
            for index, meta in manifest["blocks"].items()
        }
    except UnknownFormat as error:
        raise ConfigError(f"{folder}: {error}") from error
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


def _packed_block(index: str, meta: dict[str, Any], tensors: dict[str, Tensor]) -> BlockWeights:
    prefix = f"{_PACKED}{index}."
    block = {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
    return from_tensors(block, meta)
