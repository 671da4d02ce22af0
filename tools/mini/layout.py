"""How a model reads pictures, questions and answers: their tokens, positions and pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import LlavaProcessor

from harness.models.processors import QwenProcessor
from tasks.mini.world.pictures import Size
from tools.mini.model import IMAGE_TOKENS

Position = tuple[int, ...]  # of a token, along each of the axes that a model has


class Layout(Protocol):
    """What training has to know of a model's form.

    Attributes:
        tokenizer: Of the model.
        axes: Of a position.
        front: Tokens in front of a text.
        text_head: Tokens in front of a question without a picture.
        ask: Tokens between a question and its answer.
        end: Tokens behind an answer.
    """

    tokenizer: Any
    axes: int
    front: list[int]
    text_head: list[int]
    ask: list[int]
    end: list[int]

    def head(self, size: Size) -> tuple[list[int], list[Position]]:
        """Tokens of a picture in front of its questions, and their positions."""

    def pixels(self, images: Sequence[NDArray[np.uint8]]) -> dict[str, Tensor]:
        """The model's arguments for pictures, each (height, width, 3)."""


class LlavaLayout:
    """LLaVA-1.5's form; pictures have 64 pixels a side."""

    axes = 1

    def __init__(self, processor: LlavaProcessor):
        self.tokenizer, self._images = processor.tokenizer, processor.image_processor
        self.front = [self.tokenizer.bos_token_id]
        self.text_head = self.tokenizer.encode("<s>USER: ")
        self.ask, self.end = self.tokenizer.encode(" ASSISTANT:"), [self.tokenizer.eos_token_id]
        self._image_token = self.tokenizer.convert_tokens_to_ids("<image>")

    def head(self, size: Size) -> tuple[list[int], list[Position]]:
        """See `Layout`."""
        tokens = self.text_head + [self._image_token] * IMAGE_TOKENS
        return tokens, [(place,) for place in range(len(tokens))]

    def pixels(self, images: Sequence[NDArray[np.uint8]]) -> dict[str, Tensor]:
        """See `Layout`."""
        stacked = np.stack(images).astype(np.float32) / 255
        mean = np.asarray(self._images.image_mean, dtype=np.float32)
        std = np.asarray(self._images.image_std, dtype=np.float32)
        channels_first = ((stacked - mean) / std).transpose(0, 3, 1, 2)
        return {"pixel_values": torch.from_numpy(channels_first.copy())}


class QwenLayout:
    """Qwen2.5-VL's form: a token for each cell, and positions in time, height and width."""

    axes = 3

    def __init__(self, processor: QwenProcessor):
        self.tokenizer, self._images = processor.tokenizer, processor.image_processor
        self.front: list[int] = []
        encode, token = self.tokenizer.encode, self.tokenizer.convert_tokens_to_ids
        self.text_head = encode("<|im_start|>user\n")
        self.ask = encode("<|im_end|>\n<|im_start|>assistant\n")
        self.end = [self.tokenizer.eos_token_id]
        self._begin, self._image, self._finish = map(
            token, ("<|vision_start|>", "<|image_pad|>", "<|vision_end|>")
        )

    def head(self, size: Size) -> tuple[list[int], list[Position]]:
        """See `Layout`. What follows a picture is behind its longer side."""
        rows, columns = size
        front = [*self.text_head, self._begin]
        first = len(front)
        cells = [
            (first, first + row, first + column) for row in range(rows) for column in range(columns)
        ]
        tokens = [*front, *[self._image] * len(cells), self._finish]
        last = first + max(rows, columns)
        return tokens, [*((place,) * 3 for place in range(first)), *cells, (last,) * 3]

    def pixels(self, images: Sequence[NDArray[np.uint8]]) -> dict[str, Tensor]:
        """See `Layout`."""
        return dict(self._images(list(images), return_tensors="pt"))
