"""Calibration sequences: alpha of the tokens from image-text samples, the rest from text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness import digest
from harness.errors import ConfigError
from harness.models import LoadedModel
from harness.schema import CalibrationConfig
from tasks.mini import calibration as mini_source


@dataclass(frozen=True)
class CalibrationData:
    """sequences: keyword arguments of the model's forward, one unpadded sequence each. image_token_share: of all tokens."""

    sequences: list[dict[str, Tensor]]
    tokens: int
    image_text_tokens: int
    image_token_share: float


def calibration_digest(loaded: LoadedModel, config: CalibrationConfig) -> str:
    """Digest of everything that the statistics depend on, its first part the model's alone: `MODEL/CALIBRATION`."""
    data = {"alpha": config.alpha, "tokens": config.tokens, "sequence": config.sequence, "seed": config.seed}
    return f"{loaded.digest}-{loaded.dtype}/{digest.of_value({**data, 'source': ['mini', mini_source.VERSION]})}"


def collect(loaded: LoadedModel, config: CalibrationConfig) -> CalibrationData:
    """`config.tokens` tokens: whole image-text samples up to alpha of them, then text in sequences of `config.sequence`.

    Raises ConfigError for a model without the calibration source.
    """
    wanted = round(config.alpha * config.tokens)
    image_text = _image_text(loaded, wanted, config.seed)
    rest = config.tokens - _count(image_text) if config.alpha < 1 else 0
    sequences = image_text + _text(loaded, max(0, rest), config.sequence, config.seed)
    if not sequences:
        raise ConfigError(f"calibration.tokens={config.tokens} gives no sequence; ask for more")
    token = loaded.model.config.image_token_id
    tokens = _count(sequences)
    images = sum(int((s["input_ids"] == token).sum()) for s in sequences)
    on_device = [{name: tensor.to(loaded.device) for name, tensor in s.items()} for s in sequences]
    return CalibrationData(on_device, tokens, _count(image_text), images / tokens)


def _count(sequences: list[dict[str, Tensor]]) -> int:
    return sum(s["input_ids"].shape[1] for s in sequences)


def _image_text(loaded: LoadedModel, tokens: int, seed: int) -> list[dict[str, Tensor]]:
    sequences: list[dict[str, Tensor]] = []
    source = mini_source.picture_prompts(seed)
    count = 0
    while count < tokens:
        image, question = next(source)
        inputs = loaded.processor(text=[prompt_text(loaded, question, 1)], images=[image], return_tensors="pt")
        sequences.append(dict(inputs))
        count += inputs["input_ids"].shape[1]
    return sequences


def _text(loaded: LoadedModel, tokens: int, length: int, seed: int) -> list[dict[str, Tensor]]:
    tokenizer = loaded.processor.tokenizer
    sequences: list[dict[str, Tensor]] = []
    source = mini_source.texts(seed, sentences=length // 4 + 1)  # no sentence has fewer than four tokens
    while tokens > 1:
        size = min(length, tokens)
        text = f"{tokenizer.bos_token}{next(source)}"
        ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=size)["input_ids"]
        sequences.append({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
        tokens -= ids.shape[1]
    return sequences


def prompt_text(loaded: LoadedModel, question: str, images: int) -> str:
    """The question in the model's own chat form, with a place for each image, ready for the answer."""
    content: list[dict[str, Any]] = [{"type": "image"}] * images + [{"type": "text", "text": question}]
    return str(loaded.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True))
