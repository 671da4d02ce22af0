"""Packed models on disk: a model folder with safetensors and a manifest that holds a SHA-256 for
each tensor.
"""

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
from harness.variants.external.backend import ExternalWeight
from harness.variants.variant import Variant
from luq.decoder.blocks import BlockWeights
from luq.quantizers.keep import smallest_exact


def export_model(folder: Path, loaded: LoadedModel, variant: Variant, method: str) -> int:
    """Write the variant as a model folder that `model.path=FOLDER` loads again: configuration and
    processor, packed tensors, and everything else in the smallest type that holds it exactly.
    Returns its bytes; a folder that already holds this variant is left alone.

    Raises ConfigError for a folder that holds something else and for a variant that packs nothing.
    """
    if not variant.weights:
        raise ConfigError(
            f"method {method} packs nothing; export a quantized one, for instance method=gptq4"
        )
    if any(
        weight.format == ExternalWeight.format
        for entry in variant.weights.values()
        for weight in entry.linears.values()
    ):
        raise ConfigError(
            f"method {method} is another library's, which gave back dequantized weights; pack it"
            " with that library"
        )
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
        (partial / MANIFEST).write_text(json.dumps(manifest, allow_nan=False, indent=1))
    return _bytes(folder)


def _tensors(
    loaded: LoadedModel, variant: Variant
) -> tuple[dict[str, Tensor], dict[str, dict[str, object]]]:
    """(every tensor by name, the manifest's part on each block). Tied tensors are stored once."""
    dense: dict[str, Tensor] = loaded.model.state_dict()
    tensors: dict[str, Tensor] = {}
    blocks: dict[str, dict[str, object]] = {}
    for index, entry in variant.weights.items():
        packed, meta = to_tensors(
            BlockWeights(entry.linears)
        )  # changed parameters go with the dense ones
        prefix = f"{loaded.family.blocks}.{index}"
        blocks[str(index)] = meta
        tensors |= {f"packed.{index}.{name}": tensor for name, tensor in packed.items()}
        for name in entry.linears:
            del dense[f"{prefix}.{name}.weight"]
        dense |= {f"{prefix}.{name}": value for name, value in entry.changed.items()}
    seen: set[tuple[int, torch.Size]] = set()
    for name, tensor in dense.items():
        where = (tensor.data_ptr(), tensor.shape)
        if where not in seen:
            tensors[name] = smallest_exact(tensor).contiguous().cpu().clone()
        seen.add(where)
    return tensors, blocks


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())
