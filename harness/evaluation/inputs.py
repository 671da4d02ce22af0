"""What a model is given, prepared once for all its variants: prompts, tokens, and what the vision
tower makes of each picture.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from harness.store import digest

if TYPE_CHECKING:
    from harness.models.load import LoadedModel
    from harness.store.store import Store

FEATURE_BYTES = 2 * 2**30
GRID, PIXELS = "image_grid_thw", "pixel_values"
BY_TOKEN = ("input_ids", "mm_token_type_ids")  # what a processor says of each token
KNOWN = {
    *BY_TOKEN,
    "attention_mask",
    PIXELS,
    GRID,
}  # a processor that gives more gives what the decoder needs to see, too
Row = dict[str, Tensor]
Ahead = tuple[list["Question"], dict[str, Tensor]]


@dataclass(frozen=True)
class Question:
    """One request: what is asked, how, and the digest of all of it. pictures: digest of each.
    visuals is called when the model has to look at them, and its result not kept. tokens: in all,
    of which those of pictures are an estimate.
    """

    key: str
    label: str
    prompt: str
    pictures: tuple[str, ...]
    visuals: Callable[[], list[Image.Image]]
    max_new_tokens: int
    until: tuple[str, ...]
    tokens: int = 0


@dataclass(frozen=True)
class Feature:
    """What the vision tower and the projector make of a picture:

    (tokens, hidden), and its grid of patches (1, 3), if any.
    """

    values: Tensor
    grid: Tensor | None = None


class Features:
    """Features by picture: in memory, on the model's device, up to FEATURE_BYTES; beyond that in a
    store, up to `disk_bytes`. What fits neither is computed again. Every variant keeps the vision
    tower in full precision, so that they serve all.
    """

    def __init__(self) -> None:
        self.memory: dict[str, Feature] = {}
        self.size = self.disk_size = self.disk_bytes = 0
        self.store: Store | None = None
        self.origin = ""

    def attach(self, store: Store, origin: str, disk_bytes: int) -> None:
        """origin: digest of the model that makes them."""
        self.store, self.origin, self.disk_bytes = store, origin, disk_bytes

    def keep(self, picture: str, feature: Feature) -> None:
        if self.size + feature.values.nbytes <= FEATURE_BYTES:
            self.memory[picture] = feature
            self.size += feature.values.nbytes
        elif self.store is not None and self.disk_size + feature.values.nbytes <= self.disk_bytes:
            tensors = {"values": feature.values} | (
                {} if feature.grid is None else {"grid": feature.grid}
            )
            self.store.save_tensors(
                "features", self._key(picture), {name: t.cpu() for name, t in tensors.items()}, {}
            )
            self.disk_size += feature.values.nbytes

    def known(self, picture: str) -> bool:
        return picture in self.memory or (
            self.store is not None and self.store.has("features", self._key(picture))
        )

    def find(self, picture: str, device: torch.device) -> Feature | None:
        if picture in self.memory or self.store is None:
            return self.memory.get(picture)
        found = self.store.load_tensors("features", self._key(picture))
        if found is None:
            return None
        tensors = {name: tensor.to(device) for name, tensor in found[0].items()}
        return Feature(tensors["values"], tensors.get("grid"))

    def _key(self, picture: str) -> str:
        return digest.of_value([self.origin, picture])


@dataclass
class Prepared:
    """Of one loaded model. asked: questions by suite, number and request. rows: what the processor
    says of each token, by prompt and pictures.
    """

    asked: dict[Any, Question] = field(default_factory=dict)
    rows: dict[tuple[str, tuple[str, ...]], Row] = field(default_factory=dict)
    features: Features = field(default_factory=Features)


def picture_digest(image: Image.Image) -> str:
    return hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()


def count_tokens(loaded: LoadedModel, prompt: str, sizes: Sequence[tuple[int, int]]) -> int:
    """Tokens of a prompt with pictures of these (width, height), as the processor would expand
    them; an estimate by characters where it cannot say. Only batches are sorted by it.
    """
    words = len(prompt) // 4
    counter = getattr(loaded.processor, "_get_num_multimodal_tokens", None)
    if not sizes or counter is None:
        return words
    try:
        return words + int(
            sum(
                counter(image_sizes=[(height, width) for width, height in sizes])[
                    "num_image_tokens"
                ]
            )
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return words


def processed(loaded: LoadedModel, batch: Sequence[Question]) -> dict[str, Tensor]:
    """What the processor makes of a batch, padded on the left, on the CPU.

    Needs the pictures; may run in a thread of its own.
    """
    images = [image for question in batch for image in question.visuals()]
    return dict(
        loaded.processor(
            text=[q.prompt for q in batch],
            images=images or None,
            padding=True,
            return_tensors="pt",
            padding_side="left",
        )
    )


def unprepared(loaded: LoadedModel, batch: Sequence[Question]) -> list[Question]:
    """The questions of a batch whose pictures have to be looked at."""
    if not _separable(loaded):
        return list(batch)
    rows, known = loaded.prepared.rows, loaded.prepared.features.known
    return [
        q for q in batch if (q.prompt, q.pictures) not in rows or not all(map(known, q.pictures))
    ]


def look_ahead(loaded: LoadedModel, batch: Sequence[Question]) -> Ahead:
    """(the batch's questions whose pictures have to be looked at, what the processor makes of
    them).
    """
    new = unprepared(loaded, batch)
    return new, processed(loaded, new) if new else {}


def batch_inputs(
    loaded: LoadedModel, batch: Sequence[Question], ahead: Ahead | None = None
) -> tuple[dict[str, Tensor], list[Tensor] | None]:
    """(arguments of the model, features of all pictures in their order) of a batch, padded on the
    left. ahead: what `look_ahead` gave. Features are None where the model takes its pictures as
    pixels.
    """
    new, made = ahead or look_ahead(loaded, batch)
    inputs = _on_device(loaded, made)
    if not _separable(loaded):
        return inputs, None
    if set(inputs) - KNOWN:
        return (
            inputs if len(new) == len(batch) else _on_device(loaded, processed(loaded, batch))
        ), None
    fresh: dict[str, Feature] = {}
    if new:
        _keep_rows(loaded, new, inputs)
        fresh = _look(loaded, new, inputs)
    found = [
        fresh.get(p) or loaded.prepared.features.find(p, loaded.device)
        for q in batch
        for p in q.pictures
    ]
    features = [feature for feature in found if feature is not None]
    if len(features) < len(found):  # a file of the store was damaged or removed meanwhile
        return _on_device(loaded, processed(loaded, batch)), None
    arguments = _padded(loaded, batch)
    grids = [feature.grid for feature in features if feature.grid is not None]
    if grids:
        arguments[GRID] = torch.cat(grids)
    return arguments, [feature.values for feature in features]


def _on_device(loaded: LoadedModel, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.to(loaded.device) for name, tensor in inputs.items()}


def _separable(loaded: LoadedModel) -> bool:
    """Whether the vision tower can be asked alone and the decoder takes its answer."""
    return (
        hasattr(loaded.model, "get_image_features") and loaded.model._supports_mm_encoder_outputs()
    )


def _keep_rows(
    loaded: LoadedModel, batch: Sequence[Question], inputs: Mapping[str, Tensor]
) -> None:
    for i, question in enumerate(batch):
        mask = inputs["attention_mask"][i].bool()
        loaded.prepared.rows[question.prompt, question.pictures] = {
            name: inputs[name][i][mask] for name in BY_TOKEN if name in inputs
        }


def _look(
    loaded: LoadedModel, batch: Sequence[Question], inputs: Mapping[str, Tensor]
) -> dict[str, Feature]:
    """Features of the batch's pictures that are not known yet, each looked at once."""
    if PIXELS not in inputs:
        return {}
    pictures = [picture for question in batch for picture in question.pictures]
    first = {picture: i for i, picture in reversed(list(enumerate(pictures)))}
    unseen = {
        picture: i
        for picture, i in first.items()
        if loaded.prepared.features.find(picture, loaded.device) is None
    }
    if not unseen:
        return {}
    grids = inputs.get(GRID)
    pixels = inputs[PIXELS] if grids is None else inputs[PIXELS].split(grids.prod(dim=1).tolist())
    chosen = list(unseen.values())
    if grids is None:
        made = loaded.model.get_image_features(
            pixel_values=pixels[chosen].to(loaded.model.dtype), return_dict=True
        )
    else:
        made = loaded.model.get_image_features(
            pixel_values=torch.cat([pixels[i] for i in chosen]).to(loaded.model.dtype),
            image_grid_thw=grids[chosen],
            return_dict=True,
        )
    fresh = {
        picture: Feature(values.clone(), None if grids is None else grids[i : i + 1])
        for (picture, i), values in zip(unseen.items(), made.pooler_output, strict=True)
    }
    for picture, feature in fresh.items():
        loaded.prepared.features.keep(picture, feature)
    return fresh


def _padded(loaded: LoadedModel, batch: Sequence[Question]) -> dict[str, Tensor]:
    rows = [loaded.prepared.rows[q.prompt, q.pictures] for q in batch]
    length = max(len(row["input_ids"]) for row in rows)
    filling = {"input_ids": loaded.processor.tokenizer.pad_token_id}
    padded = {
        name: torch.stack([_left(row[name], length, filling.get(name, 0)) for row in rows])
        for name in BY_TOKEN
        if name in rows[0]
    }
    return {
        **padded,
        "attention_mask": torch.stack(
            [_left(torch.ones_like(row["input_ids"]), length, 0) for row in rows]
        ),
    }


def _left(row: Tensor, length: int, filling: int) -> Tensor:
    return torch.nn.functional.pad(row, (length - len(row), 0), value=filling)
