"""A multimodal model's decoder and calibration data as a plain causal language model, which any
quantization library can read.

The vocabulary is the calibration data: row i of the embedding is what the first decoder block
receives for calibration token i. So a library without support for pictures calibrates on exactly
the mixture that the methods of `luq` calibrate on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import Tensor

from harness.models.load import LoadedModel
from luq.calibration.capture import first_block_input
from luq.types import QuantizationError

MODEL, CALIBRATION = "model", "calibration.safetensors"
ARCHITECTURES = {
    "llava": "LlamaForCausalLM",
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
}
PREFIX = "model.layers"


@torch.inference_mode()
def write_plain_model(
    loaded: LoadedModel, sequences: Sequence[Mapping[str, Tensor]], folder: Path
) -> None:
    """Write the model and the calibration data that a worker reads.

    Args:
        loaded: The model.
        sequences: Calibration sequences: keyword arguments of the model's forward.
        folder: Where `model/` and `calibration.safetensors` are written.

    Raises:
        QuantizationError: The decoder of this family is no plain language model. Qwen2.5-VL gives
            picture tokens positions of their own, which token numbers cannot carry.
    """
    family = loaded.family
    if family.name not in ARCHITECTURES:
        raise QuantizationError(
            f"external: the decoder of {family.name} cannot be written as a plain language model;"
            f" supported are {', '.join(ARCHITECTURES)}"
        )
    states = [
        first_block_input(loaded.model, family, sequence).state[0].float().cpu()
        for sequence in sequences
    ]
    embedding = torch.cat(states)
    tensors = {"model.embed_tokens.weight": embedding, **_decoder_tensors(loaded)}
    (folder / MODEL).mkdir(parents=True)
    save_file(tensors, folder / MODEL / "model.safetensors", metadata={"format": "pt"})
    config = json.dumps(_config(loaded, len(embedding)))
    (folder / MODEL / "config.json").write_text(config, encoding="utf-8")
    _write_tokenizer(folder / MODEL, len(embedding))
    save_file(_token_ids(states), folder / CALIBRATION)


def _decoder_tensors(loaded: LoadedModel) -> dict[str, Tensor]:
    """The decoder's tensors but its embedding, under the names of a plain language model."""
    text = loaded.model.get_submodule(loaded.family.text)
    return {
        f"model.{name}": tensor.float().cpu().contiguous()
        for name, tensor in text.state_dict().items()
        if not name.startswith("embed_tokens")
    }


def _token_ids(states: Sequence[Tensor]) -> dict[str, Tensor]:
    """Numbers (1, tokens) of every sequence's tokens, which are rows of the embedding."""
    first = 0
    ids: dict[str, Tensor] = {}
    for number, state in enumerate(states):
        ids[f"input_ids.{number:05d}"] = torch.arange(first, first + len(state))[None]
        first += len(state)
    return ids


def _write_tokenizer(folder: Path, vocabulary: int) -> None:
    """Write the tokenizer that some libraries need: token i is written as the number i."""
    tokenizer = Tokenizer(WordLevel({str(i): i for i in range(vocabulary)}, unk_token="0"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": "0",
        "pad_token": "0",
        "model_max_length": 10**6,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def _config(loaded: LoadedModel, vocabulary: int) -> dict[str, Any]:
    """The decoder's configuration, also under the keys of older versions of transformers."""
    config = loaded.model.config.get_text_config()
    known: dict[str, Any] = json.loads(config.to_json_string(use_diff=False))
    rope = known.get("rope_parameters") or {}
    return known | {
        "architectures": [ARCHITECTURES[loaded.family.name]],
        "vocab_size": vocabulary,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
        "dtype": "float32",
        "torch_dtype": "float32",
        "rope_theta": rope.get("rope_theta", known.get("rope_theta", 10000.0)),
    }
