"""Models in memory: a base model with everything that belongs to it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText
from transformers.utils import logging as transformers_logging

from harness import distributed
from harness.errors import ConfigError
from harness.evaluation.inputs import Prepared
from harness.models.architectures import ARCHITECTURES
from harness.models.packed import load_packed, read_manifest
from harness.models.processors import load_processor, write_processor
from harness.models.source import PACKAGES, ModelSource, find_model
from harness.models.streamed import load_streamed
from luq.decoder.blocks import BlockWeights
from luq.decoder.families import Family, decoder_blocks, find_family
from luq.decoder.packed_linear import packed_weights


@dataclass(frozen=True)
class LoadedModel:
    """A base model in full precision, its processor, its family, the digest of its weights and
    processor, and the questions that are prepared for it. streamed: its decoder blocks stay in
    their files.
    """

    name: str
    model: Any
    processor: Any
    family: Family
    digest: str
    dtype: str
    streamed: bool = False
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
        return torch.device(self.model.get_input_embeddings().weight.device)


@functools.lru_cache(maxsize=1)
def load_model(
    name: str,
    path: str,
    dtype: str,
    device: str,
    revision: str | None = None,
    *,
    streamed: bool = False,
) -> LoadedModel:
    """Load what `find_model` finds. Weights with a hash file beside them are verified first.

    Raises ConfigError that names the folder, the tensor or the device, and QuantizationError for an
    unknown architecture.
    """
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    source = find_model(path, revision)
    with _explained(name, path):
        config = _config(source)
        pictures = config.get_text_config() is not config
        if streamed:
            model = load_streamed(
                source, config, dtype, torch.device(_device(device)), _kind(pictures=pictures)
            )
        else:
            model = _model(source, config, dtype, pictures=pictures)
        processor = load_processor(
            source.folder, config.model_type, pictures=pictures, gguf=source.gguf
        )
    model.eval().requires_grad_(False)
    if not streamed:
        model.to(_device(device))
    return LoadedModel(name, model, processor, find_family(model), source.identity, dtype, streamed)


@functools.lru_cache(maxsize=1)
def known_model(name: str, path: str, dtype: str, revision: str | None = None) -> LoadedModel:
    """The same without weights, which takes no memory on any device: for what has to be known of a
    model before, or elsewhere than, it is run. Raises ConfigError and QuantizationError as
    `load_model` does.
    """
    transformers_logging.set_verbosity_error()
    source = find_model(path, revision)
    with _explained(name, path):
        config = _config(source)
        pictures = config.get_text_config() is not config
        model = _without_weights(config)
        processor = load_processor(
            source.folder, config.model_type, pictures=pictures, gguf=source.gguf
        )
    return LoadedModel(name, model, processor, find_family(model), source.identity, dtype)


@contextlib.contextmanager
def _explained(name: str, path: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"cannot load model {name!r} from {path!r}: {' '.join(str(error).split())} Give"
            " model.path=FOLDER or a name on the hub"
        ) from error


def _config(source: ModelSource) -> Any:
    files = {} if source.gguf is None else {"gguf_file": source.gguf}
    return AutoConfig.from_pretrained(source.folder, trust_remote_code=False, **files)


def empty_model(path: str, revision: str | None = None) -> Any:
    """The model of a configuration, without weights: its parameters have shapes and take no memory.
    For a name on the hub only config.json is fetched; where it cannot be, the sizes in
    ARCHITECTURES serve. Raises ConfigError.
    """
    transformers_logging.set_verbosity_error()
    if path in PACKAGES or path == "mini" or Path(path).exists():
        config = _config(find_model(path, revision))
    else:
        try:
            config = AutoConfig.from_pretrained(path, revision=revision, trust_remote_code=False)
        except (OSError, ValueError) as error:
            if path not in ARCHITECTURES:
                raise ConfigError(
                    f"cannot read the configuration of model.path={path}:"
                    f" {' '.join(str(error).split())}"
                ) from error
            sizes = dict(ARCHITECTURES[path])
            config = AutoConfig.for_model(sizes.pop("model_type"), **sizes)
    return _without_weights(config)


def _without_weights(config: Any) -> Any:
    with init_empty_weights(include_buffers=False):
        return _kind(pictures=config.get_text_config() is not config).from_config(config)


def write_synthetic(folder: Path, path: str, dtype: str, blocks: int) -> None:
    """A checkpoint with random weights that has the real dimensions of a model in ARCHITECTURES but
    few blocks, and a small tokenizer.
    """
    sizes = dict(ARCHITECTURES[path])
    sizes["text_config"] = {**sizes["text_config"], "num_hidden_layers": blocks}
    config = AutoConfig.for_model(sizes.pop("model_type"), **sizes)
    model = _kind(pictures=True).from_config(config, dtype=getattr(torch, dtype))
    model.save_pretrained(folder)
    write_processor(folder, config.model_type)


def _kind(*, pictures: bool) -> Any:
    return AutoModelForImageTextToText if pictures else AutoModelForCausalLM


def _model(source: ModelSource, config: Any, dtype: str, *, pictures: bool) -> Any:
    kind = _kind(pictures=pictures)
    if read_manifest(source.folder):
        return load_packed(
            source.folder, dtype, lambda: kind.from_config(config, dtype=getattr(torch, dtype))
        )
    files = {} if source.gguf is None else {"gguf_file": source.gguf}
    model = kind.from_pretrained(
        source.folder, dtype=getattr(torch, dtype), trust_remote_code=False, **files
    )
    if source.gguf is not None:
        del model.config.quantization_config  # the weights are plain tensors now
    return model


def _device(name: str) -> str:
    if name == "auto":
        return distributed.device_of_rank() if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(
            f"model.device is {name!r}, but torch sees no CUDA device; use model.device=cpu"
        )
    return name
