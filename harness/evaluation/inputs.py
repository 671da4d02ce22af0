"""From questions to inputs of the model: tokens padded to a batch, and cached vision features."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from harness.models.load import LoadedModel
from harness.models.prepared import Question
from harness.models.vision_cache import PictureFeatures

GRID, PIXELS = "image_grid_thw", "pixel_values"
BY_TOKEN = ("input_ids", "mm_token_type_ids")  # what a processor gives for each token
# Where a processor gives more than these, the decoder needs more than features of pictures.
HANDLED = {*BY_TOKEN, "attention_mask", PIXELS, GRID}
# Questions whose pictures have to be looked at, and what the processor makes of them.
Ahead = tuple[list[Question], dict[str, Tensor]]


def count_tokens(loaded: LoadedModel, prompt: str, sizes: Sequence[tuple[int, int]]) -> int:
    """An estimate of the tokens of a prompt with pictures, by which batches are sorted.

    Args:
        loaded: The model.
        prompt: In its chat form.
        sizes: (width, height) of each picture. Pictures count as what the processor expands them
            to, where it can say that.
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


def batches(questions: Sequence[Question], size: int) -> Iterator[Sequence[Question]]:
    """Batches of questions with the same generation settings, the longest first.

    Sorted by length with pictures, so that little is padded and memory runs out early, if it does.
    """
    groups: dict[tuple[int, tuple[str, ...]], list[Question]] = {}
    for question in questions:
        groups.setdefault((question.max_new_tokens, question.until), []).append(question)
    for group in groups.values():
        group.sort(key=lambda q: (q.tokens, len(q.prompt)), reverse=True)
        for start in range(0, len(group), size):
            yield group[start : start + size]


def processed(loaded: LoadedModel, batch: Sequence[Question]) -> dict[str, Tensor]:
    """What the processor makes of a batch and its pictures, padded on the left, on the CPU.

    It may run in another thread than the model.
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
    """The questions of a batch that are not in `loaded.prepared`, with all of their pictures."""
    if not _separable(loaded):
        return list(batch)
    rows, cached = loaded.prepared.rows, loaded.prepared.features.has
    return [
        q for q in batch if (q.prompt, q.pictures) not in rows or not all(map(cached, q.pictures))
    ]


def look_ahead(loaded: LoadedModel, batch: Sequence[Question]) -> Ahead:
    """The unprepared questions of a batch, and what the processor makes of them.

    It may run in another thread than the model.
    """
    new = unprepared(loaded, batch)
    return new, processed(loaded, new) if new else {}


def batch_inputs(
    loaded: LoadedModel, batch: Sequence[Question], ahead: Ahead | None = None
) -> tuple[dict[str, Tensor], list[Tensor] | None]:
    """The inputs of the model for a batch.

    Args:
        loaded: The model.
        batch: Questions.
        ahead: What `look_ahead` gave for them, if it was called before.

    Returns:
        Arguments of the model's `generate`, padded on the left, on its device; and the features of
        all pictures in their order, or None where the arguments hold the pictures as pixels.
    """
    new, processed_new = ahead or look_ahead(loaded, batch)
    inputs = _on_device(loaded, processed_new)
    if not _separable(loaded):
        return inputs, None
    if set(inputs) - HANDLED:
        return (
            inputs if len(new) == len(batch) else _on_device(loaded, processed(loaded, batch))
        ), None
    fresh: dict[str, PictureFeatures] = {}
    if new:
        _cache_rows(loaded, new, inputs)
        fresh = _compute_features(loaded, new, inputs)
    features = [
        fresh.get(picture) or loaded.prepared.features.load(picture, loaded.device)
        for question in batch
        for picture in question.pictures
    ]
    complete = [one for one in features if one is not None]
    if len(complete) < len(features):  # an entry of the store was damaged or removed meanwhile
        return _on_device(loaded, processed(loaded, batch)), None
    arguments = _padded(loaded, batch)
    grids = [one.grid for one in complete if one.grid is not None]
    if grids:
        arguments[GRID] = torch.cat(grids)
    return arguments, [one.values for one in complete]


def _on_device(loaded: LoadedModel, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.to(loaded.device) for name, tensor in inputs.items()}


def _separable(loaded: LoadedModel) -> bool:
    """Whether the vision tower can run alone and the decoder takes its output."""
    return (
        hasattr(loaded.model, "get_image_features") and loaded.model._supports_mm_encoder_outputs()
    )


def _cache_rows(
    loaded: LoadedModel, batch: Sequence[Question], inputs: Mapping[str, Tensor]
) -> None:
    for i, question in enumerate(batch):
        mask = inputs["attention_mask"][i].bool()
        loaded.prepared.rows[question.prompt, question.pictures] = {
            name: inputs[name][i][mask] for name in BY_TOKEN if name in inputs
        }


def _compute_features(
    loaded: LoadedModel, batch: Sequence[Question], inputs: Mapping[str, Tensor]
) -> dict[str, PictureFeatures]:
    """Features of the batch's pictures that are not cached, each computed once; they are added."""
    if PIXELS not in inputs:
        return {}
    pictures = [picture for question in batch for picture in question.pictures]
    first = {picture: i for i, picture in reversed(list(enumerate(pictures)))}
    unseen = {
        picture: i
        for picture, i in first.items()
        if loaded.prepared.features.load(picture, loaded.device) is None
    }
    if not unseen:
        return {}
    grids = inputs.get(GRID)
    pixels = inputs[PIXELS] if grids is None else inputs[PIXELS].split(grids.prod(dim=1).tolist())
    chosen = list(unseen.values())
    if grids is None:
        output = loaded.model.get_image_features(
            pixel_values=pixels[chosen].to(loaded.model.dtype), return_dict=True
        )
    else:
        output = loaded.model.get_image_features(
            pixel_values=torch.cat([pixels[i] for i in chosen]).to(loaded.model.dtype),
            image_grid_thw=grids[chosen],
            return_dict=True,
        )
    fresh = {
        picture: PictureFeatures(values.clone(), None if grids is None else grids[i : i + 1])
        for (picture, i), values in zip(unseen.items(), output.pooler_output, strict=True)
    }
    for picture, features in fresh.items():
        loaded.prepared.features.add(picture, features)
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
