"""The files of a model folder: which are read, and what is refused before anything is.

A model is known by the digest of these files, so nothing else may be read to build it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from harness.errors import ConfigError
from harness.models.packed import read_manifest
from harness.store.tensors import TENSORS
from reports.records.sealed_json import strict_json

WEIGHTS = "model.safetensors"
INDEX = f"{WEIGHTS}.index.json"
CONFIG = "config.json"
TEMPLATES = "additional_chat_templates"
# All that transformers reads of weights, configurations, tokenizers and chat templates.
SUFFIXES = frozenset(
    ".json .safetensors .jinja .model .txt .gguf .spm .codes .bpe .vocab .tiktoken".split()
)
_OTHER_WEIGHTS = frozenset(".bin .pt .pth .ckpt .h5 .msgpack .pkl .npz .onnx".split())
_REFUSED = {
    "adapter_config.json": (
        "an adapter, which would change the weights: merge it into its model (peft's"
        " merge_and_unload, then save_pretrained)"
    ),
    "audio_tokenizer_config.json": "a second model for sound: remove it",
}
# Settings by which transformers would read other files, run other code or quantize on its own.
_REFUSED_SETTINGS = {
    "auto_map": "code of its own, which is never run",
    "quantization_config": "weights that are quantized already; give the full-precision model",
    "compression_config": "weights that are quantized already; give the full-precision model",
    "transformers_weights": "weights in another file",
    "fast_tokenizer_files": "another file for the tokenizer",
    "audio_tokenizer": "a second model for sound",
    "fusion_config": "other modules than the model's own",
    "kernel_config": "code of its own, which is never run",
    "distributed_config": "a way to share the model out; processes are set with launcher=",
}
_SETTINGS = (
    CONFIG,
    "generation_config.json",
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "tokenizer_config.json",
    "tokenizer.json",
)


def model_files(folder: Path) -> dict[str, Path]:
    """All files that are read to build the model of a folder, by name relative to it, sorted.

    Raises:
        ConfigError: The folder is none of a model, cannot be read, or holds or names what is
            refused.
    """
    try:
        found = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
        found += sorted((folder / TEMPLATES).glob("*.jinja"))
        files = {str(path.relative_to(folder)): path for path in found if path.is_file()}
    except OSError as error:
        raise ConfigError(f"cannot read the model folder {folder}: {error.strerror}") from error
    for name, what in _REFUSED.items():
        if name in files:
            raise ConfigError(f"{folder} holds {name}, {what}")
    if CONFIG not in files:
        raise ConfigError(
            f"{folder} is not a model folder: it has no config.json. Give a folder with"
            " model.path=FOLDER or a name on the hub"
        )
    for path in files.values():
        _require_inside(path, folder)
    for name in _SETTINGS:
        if name in files:
            _require_plain(files[name], _read_object(files[name]))
    return files


def check_weights(folder: Path, files: Iterable[str]) -> None:
    """Refuse a folder whose weights are not in safetensors files of its own.

    Args:
        folder: Of a model.
        files: What `model_files` found.

    Raises:
        ConfigError: Names the files, and says what to do.
    """
    names = set(files)
    shards = sorted(name for name in names if name.startswith("shard-") and "-model-" in name)
    if shards:
        raise ConfigError(
            f"{folder} holds {shards[0]}, a checkpoint of several processes; write it again with"
            " save_pretrained"
        )
    if TENSORS in names and read_manifest(folder):
        return
    if INDEX in names:
        _check_index(folder, names)
    elif WEIGHTS not in names:
        raise ConfigError(f"{folder} has no {WEIGHTS} and no {INDEX}{_instead(folder)}")
    for path in (folder / name for name in sorted(names) if name.endswith(".safetensors")):
        try:
            with safe_open(path, framework="pt"):
                pass
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error}") from error
        except SafetensorError as error:
            raise ConfigError(
                f"{path} is no safetensors file, or only a part of one ({error}). Restore it or"
                " download it again"
            ) from error


def _require_inside(path: Path, folder: Path) -> None:
    """Refuse a link that leads out of a folder; the hub's cache keeps its files in `blobs`."""
    target, homes = path.resolve(), [folder.resolve()]
    if folder.resolve().parent.name == "snapshots":
        homes.append(folder.resolve().parent.parent / "blobs")
    if not any(target.is_relative_to(home) for home in homes):
        raise ConfigError(
            f"{path} is a link that leads out of the model folder: put the file there"
        )


def _read_object(path: Path) -> dict[str, Any]:
    try:
        value = strict_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is no valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path} should hold an object, it holds {type(value).__name__}")
    return value


def _require_plain(path: Path, settings: Any) -> None:
    """Refuse settings, at any depth, that lead to other files or other code."""
    waiting = [settings]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            for key in value.keys() & _REFUSED_SETTINGS.keys():
                if value[key]:
                    raise ConfigError(
                        f"{path} sets {key}: {_REFUSED_SETTINGS[key]}. Remove the setting if the"
                        " model does not need it"
                    )
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _check_index(folder: Path, names: set[str]) -> None:
    """Refuse an index that names anything but safetensors files of its folder."""
    weight_map = _read_object(folder / INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ConfigError(f"{folder / INDEX} has no weight_map, by which weights are found")
    shards = sorted({str(shard) for shard in weight_map.values()})
    foreign = [s for s in shards if Path(s).name != s or not s.endswith(".safetensors")]
    if foreign:
        raise ConfigError(
            f"{folder / INDEX} names {foreign[0]!r}: shards are safetensors files in the"
            " model's own folder"
        )
    absent = [shard for shard in shards if shard not in names]
    if absent:
        raise ConfigError(
            f"{folder / INDEX} names files that are not there: {', '.join(absent[:3])}"
            f" ({len(absent)} of {len(shards)}). Download them again"
        )
    if WEIGHTS in names and shards != [WEIGHTS]:
        raise ConfigError(
            f"{folder} holds {WEIGHTS} and an index that names {', '.join(shards[:3])}: two sets of"
            " weights; remove one"
        )


def _instead(folder: Path) -> str:
    """What a folder without safetensors holds in their place."""
    others = sorted(path.name for path in folder.iterdir() if path.suffix in _OTHER_WEIGHTS)
    if others:
        return (
            f"; its weights are in {', '.join(others[:3])}, which could run code when read. Write"
            " them again as safetensors with save_pretrained"
        )
    gguf = sorted(path.name for path in folder.glob("*.gguf"))
    if gguf:
        return f"; for its GGUF file give model.path={folder / gguf[0]}"
    return ": it holds no weights. Download or copy them"
