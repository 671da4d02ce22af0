"""Models whose decoder blocks stay in their safetensors files.

The files are mapped into memory, and one block at a time is copied to the device while it runs.
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
from harness.models.fit import READING, require_fit
from harness.models.packed import read_manifest
from harness.models.source import ModelSource
from luq.decoder.families import decoder_blocks, find_family
from luq.decoder.streaming import stream_blocks

Locations = dict[str, dict[str, str]]  # by parameter: `safetensors_file` and `weight_name` there


def load_streamed(
    source: ModelSource, config: Any, dtype: str, device: torch.device, model_class: Any
) -> Any:
    """Load a model with everything but its decoder blocks on a device.

    The blocks' tensors are views of their files: the operating system reads pages as they are used
    and may drop them again. transformers finds out which tensor of which file belongs to which
    parameter, whatever names the checkpoint uses.

    Args:
        source: Where the files are.
        config: The model's configuration.
        dtype: What the model computes in; the files must hold the same.
        device: Where blocks run, and where everything else is.
        model_class: An auto class of transformers.

    Raises:
        ConfigError: The model is GGUF or packed, or its files do not hold the tensors as the model
            uses them.
    """
    _require_safetensors(source)
    with init_empty_weights(include_buffers=False):
        empty = model_class.from_config(config)
    family = find_family(empty)
    with tempfile.TemporaryDirectory() as converted:
        model, info = model_class.from_pretrained(
            source.folder,
            config=config,
            dtype=getattr(torch, dtype),
            offload_folder=converted,
            device_map=_device_map(empty, family.blocks, str(device)),
            **READING,
        )
        require_fit(source.shown, info)
        blocks = decoder_blocks(model, family)
        locations = _locations(blocks)
        remove_hook_from_submodules(model)
        del model.hf_device_map  # it does not hold any more
        _require_original(locations, source.folder)
    _map_parameters(model, locations, getattr(torch, dtype), source.folder)
    stream_blocks(blocks, device)
    return model


def _require_safetensors(source: ModelSource) -> None:
    if source.gguf is not None or read_manifest(source.folder):
        raise ConfigError(
            f"model.memory=streamed needs dense weights in safetensors files; {source.folder} has"
            f" {'packed ones' if source.gguf is None else source.gguf}. Use model.memory=full"
        )


def _device_map(model: nn.Module, path: str, device: str) -> dict[str, str]:
    """A device for every module that does not contain `path`; `path` itself stays on disk."""
    devices = {path: "disk"}
    inner, prefix = model, ""
    for step in path.split("."):
        devices |= {f"{prefix}{name}": device for name, _ in inner.named_children() if name != step}
        devices |= {f"{prefix}{name}": device for name, _ in inner.named_parameters(recurse=False)}
        inner, prefix = inner.get_submodule(step), f"{prefix}{step}."
    return devices


def _locations(blocks: nn.ModuleList) -> Locations:
    """Where the parameters of the blocks are, by full name, from accelerate's hooks."""
    hook: Any = next(
        module._hf_hook
        for module in blocks.modules()
        if getattr(getattr(module, "_hf_hook", None), "weights_map", None)
    )
    weights_map = hook.weights_map
    while not hasattr(weights_map, "index"):
        weights_map = weights_map.dataset
    return dict(weights_map.index)


def _require_original(locations: Locations, folder: Path) -> None:
    """Raise ConfigError if transformers had to convert a parameter into another file."""
    for name, location in locations.items():
        if not Path(location["safetensors_file"]).is_relative_to(folder):
            raise ConfigError(
                f"{folder}: {name} is stored in another form than the model uses; use"
                " model.memory=full"
            )


def _map_parameters(
    model: nn.Module, locations: Locations, dtype: torch.dtype, folder: Path
) -> None:
    """Put views of the files in the place of parameters."""
    files = {location["safetensors_file"] for location in locations.values()}
    opened = {file: safe_open(file, framework="pt") for file in files}
    tensors = {
        name: opened[location["safetensors_file"]].get_tensor(location["weight_name"])  # type: ignore[no-untyped-call]
        for name, location in locations.items()
    }
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    mismatched = {
        (name, tuple(tensor.shape), tuple(shapes[name]))
        for name, tensor in tensors.items()
        if tensor.shape != shapes[name]
    }
    require_fit(str(folder), {"mismatched_keys": mismatched})
    for name, tensor in tensors.items():
        if tensor.dtype != dtype:
            stored = str(tensor.dtype).removeprefix("torch.")
            raise ConfigError(
                f"model.memory=streamed computes in the type of the files, which hold {stored}: set"
                f" model.dtype={stored}"
            )
        module, _, parameter = name.rpartition(".")
        setattr(model.get_submodule(module), parameter, nn.Parameter(tensor, requires_grad=False))
