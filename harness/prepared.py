"""What a model is given, prepared once for all its variants: prompts, tokens, and what the vision tower makes of each picture."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

if TYPE_CHECKING:
    from harness.models import LoadedModel

FEATURE_BYTES = 2 * 2**30
PLAIN = {"input_ids", "attention_mask", "pixel_values"}  # a processor that gives more gives what the decoder needs to see, too


@dataclass(frozen=True)
class Question:
    """One request: what is asked, how, and the digest of all of it. pictures: digest of each. visuals is called when the model has to look
    at them, and its result not kept."""

    key: str
    label: str
    prompt: str
    pictures: tuple[str, ...]
    visuals: Callable[[], list[Image.Image]]
    max_new_tokens: int
    until: tuple[str, ...]


@dataclass
class Prepared:
    """Of one loaded model. asked: questions by suite, number and request. ids: tokens by prompt and pictures. features: of the vision tower
    and the projector by picture, up to FEATURE_BYTES, on the model's device; every variant keeps both in full precision."""

    asked: dict[Any, Question] = field(default_factory=dict)
    ids: dict[tuple[str, tuple[str, ...]], Tensor] = field(default_factory=dict)
    features: dict[str, Tensor] = field(default_factory=dict)
    size: int = 0

    def keep_feature(self, picture: str, feature: Tensor) -> None:
        if self.size + feature.nbytes <= FEATURE_BYTES:
            self.features[picture] = feature
            self.size += feature.nbytes


def picture_digest(image: Image.Image) -> str:
    return hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()


def batch_inputs(loaded: LoadedModel, batch: Sequence[Question]) -> tuple[dict[str, Tensor], list[Tensor] | None]:
    """(arguments of the model, features of all pictures in their order) of a batch, padded on the left. Features are None where the model
    takes its pictures as pixels."""
    if not _separable(loaded):
        return _processed(loaded, batch), None
    prepared = loaded.prepared
    new = [q for q in batch if (q.prompt, q.pictures) not in prepared.ids or any(p not in prepared.features for p in q.pictures)]
    fresh: dict[str, Tensor] = {}
    if new:
        inputs = _processed(loaded, new)
        if set(inputs) - PLAIN:
            return _processed(loaded, batch), None
        _keep_ids(loaded, new, inputs)
        fresh = _features(loaded, new, inputs.get("pixel_values"))
    known = {**prepared.features, **fresh}
    return _padded(loaded, batch), [known[picture] for q in batch for picture in q.pictures]


def _separable(loaded: LoadedModel) -> bool:
    """Whether the vision tower can be asked alone and the decoder takes its answer."""
    return hasattr(loaded.model, "get_image_features") and loaded.model._supports_mm_encoder_outputs()


def _processed(loaded: LoadedModel, batch: Sequence[Question]) -> dict[str, Tensor]:
    images = [image for question in batch for image in question.visuals()]
    inputs = loaded.processor(text=[q.prompt for q in batch], images=images or None, padding=True, return_tensors="pt", padding_side="left")
    return {name: tensor.to(loaded.device) for name, tensor in inputs.items()}


def _keep_ids(loaded: LoadedModel, batch: Sequence[Question], inputs: dict[str, Tensor]) -> None:
    for question, ids, mask in zip(batch, inputs["input_ids"], inputs["attention_mask"], strict=True):
        loaded.prepared.ids[question.prompt, question.pictures] = ids[mask.bool()]


def _features(loaded: LoadedModel, batch: Sequence[Question], pixels: Tensor | None) -> dict[str, Tensor]:
    if pixels is None:
        return {}
    pictures = [picture for question in batch for picture in question.pictures]
    first = {picture: i for i, picture in reversed(list(enumerate(pictures)))}  # each picture once
    unseen = {picture: i for picture, i in first.items() if picture not in loaded.prepared.features}
    if not unseen:
        return {}
    made = loaded.model.get_image_features(
        pixel_values=pixels[list(unseen.values())].to(loaded.model.dtype), return_dict=True
    ).pooler_output
    fresh = dict(zip(unseen, (feature.clone() for feature in made), strict=True))
    for picture, feature in fresh.items():
        loaded.prepared.keep_feature(picture, feature)
    return fresh


def _padded(loaded: LoadedModel, batch: Sequence[Question]) -> dict[str, Tensor]:
    rows = [loaded.prepared.ids[q.prompt, q.pictures] for q in batch]
    length = max(map(len, rows))
    ids = torch.full((len(rows), length), loaded.processor.tokenizer.pad_token_id, device=loaded.device)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, length - len(row) :] = row
        mask[i, length - len(row) :] = 1
    return {"input_ids": ids, "attention_mask": mask}
