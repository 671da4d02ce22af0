"""Models in memory: a base model with its processor and everything that belongs to it."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import tempfile
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from huggingface_hub.utils import logging as hub_logging
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText
from transformers.utils import logging as transformers_logging

from harness import distributed
from harness.errors import ConfigError
from harness.models.architectures import ARCHITECTURES
from harness.models.fit import READING, require_fit, unread_tensors
from harness.models.packed import load_packed, read_manifest
from harness.models.prepared import PreparedInputs
from harness.models.processors import chat_template, load_processor, write_processor
from harness.models.prompt import prompt_text
from harness.models.source import ModelSource, find_model
from harness.models.streamed import load_streamed
from luq.decoder.blocks import BlockWeights
from luq.decoder.families import Family, decoder_blocks, find_family
from luq.decoder.packed_linear import packed_weights
from luq.types import QuantizationError


@dataclass(frozen=True)
class LoadedModel:
    """A base model in full precision, or a packed one, and what belongs to it.

    Attributes:
        name: The name in tables.
        model: A model of transformers, in evaluation mode and without gradients.
        processor: Makes its inputs; a `TextProcessor` for a language model.
        family: Where its decoder blocks and their linears are.
        digest: Of its weights and its processor.
        dtype: What it computes in, for instance `bfloat16`.
        streamed: Whether its decoder blocks stay in their files.
        prepared: Inputs that all its variants share; filled as they are needed.
    """

    name: str
    model: Any
    processor: Any
    family: Family
    digest: str
    dtype: str
    streamed: bool = False
    prepared: PreparedInputs = field(default_factory=PreparedInputs, compare=False, repr=False)

    @property
    def blocks(self) -> torch.nn.ModuleList:
        """The decoder blocks, in order."""
        return decoder_blocks(self.model, self.family)

    @property
    def packed(self) -> dict[int, BlockWeights]:
        """The packed weights that the model computes with, by block; empty for a dense model."""
        return packed_weights(self.model, self.family)

    @property
    def device(self) -> torch.device:
        """Where the model takes its inputs."""
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
    """Load a model; the last one stays in memory and is returned again.

    Weights that have a file of hashes next to them are verified first.

    Args:
        name: The name in tables.
        path: What `harness.models.source.find_model` takes.
        dtype: What the model computes in.
        device: For instance `cpu` or `cuda:1`; `auto` for the GPU of this process, if there is one.
        revision: Branch, tag or commit on the hub.
        streamed: Leave the decoder blocks in their files, see `harness.models.streamed`.

    Raises:
        ConfigError: Names the folder, the tensor or the device that is wrong, or the architecture
            that is unknown.
    """
    _quiet_transformers()
    place = _choose_device(device)
    with _alone(find_model(path, revision)) as source, _config_errors(name, path):
        config = _read_config(source)
        find_family(_without_weights(config))  # an unknown one is refused before any work
        if streamed:
            model = load_streamed(source, config, dtype, torch.device(place), _model_class(config))
        else:
            model = _read_model(source, config, dtype)
        processor = _read_processor(source, config)
    if chat_template(processor) is not None:
        prompt_text(processor, "What is this?", int(_takes_pictures(config)))
    model.eval().requires_grad_(False)
    if not streamed:
        model.to(place)
    return LoadedModel(name, model, processor, find_family(model), source.identity, dtype, streamed)


@functools.lru_cache(maxsize=1)
def load_without_weights(
    name: str, path: str, dtype: str, revision: str | None = None
) -> LoadedModel:
    """A model as `load_model` gives it, but without weights: it takes no memory and cannot run.

    For processes that only need to know its blocks, its digest and its processor.

    Raises:
        ConfigError: Names the folder or the tensor that is wrong.
        QuantizationError: The architecture is unknown.
    """
    _quiet_transformers()
    with _alone(find_model(path, revision)) as source, _config_errors(name, path):
        config = _read_config(source)
        model = _without_weights(config)
        processor = _read_processor(source, config)
    return LoadedModel(name, model, processor, find_family(model), source.identity, dtype)


def empty_model(path: str, revision: str | None = None) -> Any:
    """A model of transformers whose parameters have shapes and no values.

    For a name on the hub only config.json is downloaded. Where that is impossible, the sizes in
    ARCHITECTURES serve.

    Raises:
        ConfigError: No configuration can be read.
    """
    _quiet_transformers()
    try:
        found = find_model(path, revision, weights=False)
        with _alone(found) as source, _config_errors(path, path):
            return _without_weights(_read_config(source))
    except ConfigError:
        if path not in ARCHITECTURES:
            raise
        return _without_weights(_architecture(path))


def write_synthetic(folder: Path, path: str, dtype: str, blocks: int) -> None:
    """Write a checkpoint with random weights and the real dimensions of a published model.

    Args:
        folder: Where to.
        path: A key of ARCHITECTURES.
        dtype: Of the weights.
        blocks: How many decoder blocks it gets, fewer than the published model has.
    """
    config = _architecture(path, num_hidden_layers=blocks)
    model = _model_class(config).from_config(config, dtype=getattr(torch, dtype))
    model.save_pretrained(folder)
    write_processor(folder, config.model_type)


@contextlib.contextmanager
def _alone(source: ModelSource) -> Iterator[ModelSource]:
    """A source of which transformers can read nothing but what its identity covers: a GGUF file is
    shown to it in a folder of its own.
    """
    if source.gguf is None:
        yield source
        return
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, source.gguf).symlink_to((source.folder / source.gguf).resolve())
        yield dataclasses.replace(source, folder=Path(folder))


@contextlib.contextmanager
def _config_errors(name: str, path: str) -> Iterator[None]:
    """Turn whatever transformers raises for files that it cannot use into a ConfigError."""
    try:
        yield
    except (ConfigError, MemoryError, torch.OutOfMemoryError):
        raise
    except QuantizationError as error:  # of an unknown architecture
        raise ConfigError(f"cannot load model {name!r} from {path!r}: {error}") from error
    except Exception as error:
        raise ConfigError(
            f"cannot load model {name!r} from {path!r}: {type(error).__name__}:"
            f" {textwrap.shorten(str(error), 400)} Restore the file that it names, or download the"
            " model again"
        ) from error


def _quiet_transformers() -> None:
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    hub_logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # attempts to reach the hub


def _architecture(path: str, **text_options: int) -> Any:
    """The configuration of a published model; text_options: what differs in its decoder."""
    sizes = dict(ARCHITECTURES[path])
    sizes["text_config"] = {**sizes["text_config"], **text_options}
    return AutoConfig.for_model(sizes.pop("model_type"), **sizes)


def _takes_pictures(config: Any) -> bool:
    return config.get_text_config() is not config


def _model_class(config: Any) -> Any:
    return AutoModelForImageTextToText if _takes_pictures(config) else AutoModelForCausalLM


def _without_weights(config: Any) -> Any:
    with init_empty_weights(include_buffers=False):
        return _model_class(config).from_config(config)


def _gguf_option(source: ModelSource) -> dict[str, str]:
    return {} if source.gguf is None else {"gguf_file": source.gguf}


def _read_config(source: ModelSource) -> Any:
    config = AutoConfig.from_pretrained(
        source.folder, trust_remote_code=False, **_gguf_option(source)
    )
    # A configuration may name a kernel to be downloaded and run; transformers' own choice is used.
    config._attn_implementation = config._experts_implementation = None
    return config


def _read_processor(source: ModelSource, config: Any) -> Any:
    return load_processor(
        source.folder, config.model_type, pictures=_takes_pictures(config), gguf=source.gguf
    )


def _read_model(source: ModelSource, config: Any, dtype: str) -> Any:
    model_class, torch_dtype = _model_class(config), getattr(torch, dtype)
    if read_manifest(source.folder):
        return load_packed(
            source.folder, dtype, lambda: model_class.from_config(config, dtype=torch_dtype)
        )
    options = {"config": config} if source.gguf is None else _gguf_option(source)
    model, info = model_class.from_pretrained(
        source.folder, dtype=torch_dtype, **options, **READING
    )
    require_fit(source.shown, info)
    if source.gguf is not None:
        unread = unread_tensors(source.folder / source.gguf, config.num_hidden_layers)
        require_fit(source.shown, {"unexpected_keys": unread})
        del model.config.quantization_config  # the weights are dense now
    return model


def _choose_device(name: str) -> str:
    if name == "auto":
        return distributed.local_device() if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(
            f"model.device is {name!r}, but torch sees no CUDA device; use model.device=cpu"
        )
    return name
