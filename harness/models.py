"""Models and processors: the only file that imports transformers."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor
from transformers.utils import logging as transformers_logging

from harness import digest
from harness.errors import ConfigError
from harness.packed_model import load_packed, read_manifest
from harness.prepared import Prepared
from harness.store import CorruptEntry, verify_tensors
from luq.blocks import BlockWeights
from luq.families import Family, decoder_blocks, find_family
from luq.packed_linear import packed_weights

EMBEDDED = Path(__file__).parent.parent / "tasks" / "mini" / "weights"
WEIGHTS = "model.safetensors"
HASHES = "sha256.json"


@dataclass(frozen=True)
class LoadedModel:
    """A base model in full precision, its processor, its family, the digest of its weights and processor, and the questions that are
    prepared for it."""

    name: str
    model: Any
    processor: Any
    family: Family
    digest: str
    dtype: str
    prepared: Prepared = field(default_factory=Prepared, compare=False, repr=False)

    @property
    def blocks(self) -> torch.nn.ModuleList:
        return decoder_blocks(self.model, self.family)

    @property
    def packed(self) -> dict[int, BlockWeights]:
        """The packed weights that the model lives on, by block; empty for a dense model."""
        return packed_weights(self.model, self.family)

    @property
    def device(self) -> torch.device:
        return torch.device(next(self.model.parameters()).device)


@functools.lru_cache(maxsize=1)
def load_model(name: str, path: str, dtype: str, device: str) -> LoadedModel:
    """Load from a folder or the hub. Weights with a hash file beside them are verified first.

    Raises ConfigError that names the folder, the tensor or the device.
    """
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    source = EMBEDDED if path == "mini" else Path(path)
    where = str(source) if source.is_dir() else path
    identity = _verified_identity(source) if source.is_dir() else path
    try:
        if source.is_dir() and read_manifest(source):
            model = load_packed(source, dtype, functools.partial(_from_config, where, dtype))
        else:
            model = AutoModelForImageTextToText.from_pretrained(where, dtype=getattr(torch, dtype), trust_remote_code=False)
        processor = AutoProcessor.from_pretrained(where, trust_remote_code=False, backend="pil")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"cannot load model {name!r} from {path!r}: {' '.join(str(error).split())} Give model.path=FOLDER or a name on the hub"
        ) from error
    model.eval().requires_grad_(False).to(_device(device))
    return LoadedModel(name, model, processor, find_family(model), identity, dtype)


def _from_config(where: str, dtype: str) -> Any:
    config = AutoConfig.from_pretrained(where, trust_remote_code=False)
    return AutoModelForImageTextToText.from_config(config, dtype=getattr(torch, dtype), trust_remote_code=False)


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"model.device is {name!r}, but torch sees no CUDA device; use model.device=cpu")
    return name


def _verified_identity(folder: Path) -> str:
    """Digest of a model folder: configuration, processor, and weights by tensor where a hash file promises them, else by file."""
    files = sorted(p for p in folder.iterdir() if p.suffix in (".json", ".safetensors", ".jinja", ".model", ".txt"))
    hashes = folder / HASHES
    if not (folder / "config.json").exists():
        raise ConfigError(
            f"{folder} is not a model folder: it has no config.json. Give a folder with model.path=FOLDER or a name on the hub"
        )
    if not hashes.exists():
        return digest.of_value({p.name: digest.of_file(p) for p in files})
    try:
        promised = json.loads(hashes.read_text())
        verify_tensors(load_file(folder / WEIGHTS), promised)
    except (CorruptEntry, SafetensorError, OSError, ValueError) as error:
        raise ConfigError(f"{folder / WEIGHTS} is damaged: {error}. Restore the file (git checkout, or download it again)") from error
    return digest.of_value({p.name: digest.of_file(p) for p in files if p.suffix != ".safetensors"} | {"tensors": promised})


def write_hashes(folder: Path) -> None:
    """The hash file that `load_model` checks weights against."""
    tensors = load_file(folder / WEIGHTS)
    (folder / HASHES).write_text(json.dumps({name: digest.of_tensor(tensor) for name, tensor in tensors.items()}, indent=1) + "\n")
