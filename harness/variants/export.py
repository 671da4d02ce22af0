"""Export of a variant: a model folder with packed tensors and a manifest of their SHA-256."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from harness.errors import ConfigError
from harness.models.load import LoadedModel
from harness.models.packed import FORMAT, read_manifest
from harness.store import digest
from harness.store.atomic import complete_or_absent, store_errors
from harness.store.bank import to_tensors
from harness.store.tensors import MANIFEST, TENSORS
from harness.variants.external.result import ExternalWeight
from harness.variants.variant import Variant
from luq.decoder.blocks import BlockWeights
from luq.rounding.dense import smallest_exact


def export_model(folder: Path, loaded: LoadedModel, variant: Variant, method: str) -> int:
    """Write a variant as a model folder that `model.path=FOLDER` loads.

    The folder holds the configuration, the processor, the packed tensors, and every other tensor in
    the smallest type that holds it exactly. A folder that already holds this variant is left as it
    is.

    Args:
        folder: Where to.
        loaded: The model that the variant belongs to.
        variant: The variant.
        method: Name of the method, for the manifest and for messages.

    Returns:
        Bytes of all files.

    Raises:
        ConfigError: The folder holds something else, or nothing of the variant is packed.
        StoreError: The folder cannot be written.
    """
    _refuse_unpacked(variant, method)
    if folder.exists():
        if read_manifest(folder).get("variant") != variant.digest:
            raise ConfigError(
                f"{folder} exists and does not hold this variant; choose another folder with"
                " out=PATH or remove it"
            )
        return _bytes(folder)
    tensors, blocks = _tensors(loaded, variant)
    manifest = {
        "format": FORMAT,
        "variant": variant.digest,
        "method": method,
        "source": loaded.digest,
        "dtype": loaded.dtype,
        "stored_bits": variant.stored_bits,
        "paper_bits": variant.paper_bits,
        "stored_bytes": variant.stored_bytes,
        "blocks": blocks,
        "sha256": {name: digest.of_tensor(tensor) for name, tensor in tensors.items()},
    }
    partial = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}")
    with store_errors(folder), complete_or_absent(folder, partial):
        loaded.model.config.save_pretrained(partial)
        loaded.model.generation_config.save_pretrained(partial)
        loaded.processor.save_pretrained(partial)
        save_file(tensors, partial / TENSORS)
        text = json.dumps(manifest, allow_nan=False, indent=1)
        (partial / MANIFEST).write_text(text, encoding="utf-8")
    return _bytes(folder)


def _refuse_unpacked(variant: Variant, method: str) -> None:
    """Raise ConfigError for a variant without packed weights."""
    if not variant.weights:
        raise ConfigError(
            f"method {method} packs nothing; export a quantized one, for instance method=gptq4"
        )
    formats = {w.format for entry in variant.weights.values() for w in entry.linears.values()}
    if ExternalWeight.format in formats:
        raise ConfigError(
            f"method {method} is another library's, which returned dequantized weights; pack it"
            " with that library"
        )


def _tensors(
    loaded: LoadedModel, variant: Variant
) -> tuple[dict[str, Tensor], dict[str, dict[str, object]]]:
    """(every tensor by name, the manifest's entry of each block). Tied tensors are stored once."""
    dense: dict[str, Tensor] = loaded.model.state_dict()
    tensors: dict[str, Tensor] = {}
    blocks: dict[str, dict[str, object]] = {}
    for index, entry in variant.weights.items():
        packed, meta = to_tensors(BlockWeights(entry.linears))  # without changed parameters
        prefix = f"{loaded.family.blocks}.{index}"
        blocks[str(index)] = meta
        tensors |= {f"packed.{index}.{name}": tensor for name, tensor in packed.items()}
        for name in entry.linears:
            del dense[f"{prefix}.{name}.weight"]
        dense |= {f"{prefix}.{name}": value for name, value in entry.changed.items()}
    seen: set[tuple[int, torch.Size]] = set()
    for name, tensor in dense.items():
        place = (tensor.data_ptr(), tensor.shape)
        if place not in seen:
            tensors[name] = smallest_exact(tensor).contiguous().cpu().clone()
        seen.add(place)
    return tensors, blocks


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())
