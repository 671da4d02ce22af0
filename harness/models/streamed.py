"""Models whose decoder blocks stay in their safetensors files: opened lazily, mapped into memory,
one block at a time on the device.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from accelerate.hooks import remove_hook_from_submodules
from safetensors import safe_open
from torch import nn

from harness.errors import ConfigError
from harness.models.source import ModelSource
from luq.decoder.families import decoder_blocks, find_family
from luq.decoder.streaming import stream_blocks


def load_streamed(
    source: ModelSource, config: Any, dtype: str, device: torch.device, kind: Any
) -> Any:
    """A model of the class `kind` with everything but its decoder blocks on `device`.

    The blocks' tensors are views of their files: the system reads pages as they are used and may
    drop them again.

    transformers finds out which tensor of which file belongs to which parameter, whatever names the
    checkpoint uses. Raises ConfigError for a GGUF or packed model, and where the files hold another
    type than `dtype`.
    """
    if source.gguf is not None or not list(source.folder.glob("*.safetensors")):
        raise ConfigError(
            f"model.memory=streamed needs safetensors files; {source.folder} has none. Use"
            " model.memory=full"
        )
    with init_empty_weights(include_buffers=False):
        empty = kind.from_config(config)
    family = find_family(empty)
    with tempfile.TemporaryDirectory() as converted:
        model = kind.from_pretrained(
            source.folder,
            dtype=getattr(torch, dtype),
            trust_remote_code=False,
            offload_folder=converted,
            device_map=_all_but(empty, family.blocks, str(device)),
        )
        blocks = decoder_blocks(model, family)
        places = _places(blocks)
        remove_hook_from_submodules(model)
        del model.hf_device_map  # no part of the model is where it says any more
        if stray := [
            name
            for name, place in places.items()
            if not Path(place["safetensors_file"]).is_relative_to(source.folder)
        ]:
            raise ConfigError(
                f"{source.folder}: {stray[0]} is stored in another form than the model uses; use"
                " model.memory=full"
            )
    _map(model, places, getattr(torch, dtype))
    stream_blocks(blocks, device)
    return model


def _all_but(model: nn.Module, path: str, device: str) -> dict[str, str]:
    """A device for every module that does not contain `path`; `path` itself stays on disk."""
    found = {path: "disk"}
    inner, prefix = model, ""
    for step in path.split("."):
        found |= {f"{prefix}{name}": device for name, _ in inner.named_children() if name != step}
        found |= {f"{prefix}{name}": device for name, _ in inner.named_parameters(recurse=False)}
        inner, prefix = inner.get_submodule(step), f"{prefix}{step}."
    return found


def _places(blocks: nn.ModuleList) -> dict[str, dict[str, str]]:
    """By the full name of each parameter of the blocks, its file and its name there, as accelerate
    was told by transformers.
    """
    hook: Any = next(
        module._hf_hook
        for module in blocks.modules()
        if getattr(getattr(module, "_hf_hook", None), "weights_map", None)
    )
    known = hook.weights_map
    while not hasattr(known, "index"):
        known = known.dataset
    return dict(known.index)


def _map(model: nn.Module, places: dict[str, dict[str, str]], dtype: torch.dtype) -> None:
    files = {place["safetensors_file"] for place in places.values()}
    opened = {file: safe_open(file, framework="pt") for file in files}
    for name, place in places.items():
        tensor = opened[place["safetensors_file"]].get_tensor(place["weight_name"])  # type: ignore[no-untyped-call]
        if tensor.dtype != dtype:
            stored = str(tensor.dtype).removeprefix("torch.")
            raise ConfigError(
                f"model.memory=streamed computes in the type of the files, which hold {stored}: set"
                f" model.dtype={stored}"
            )
        owner, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(owner), leaf, nn.Parameter(tensor, requires_grad=False))
