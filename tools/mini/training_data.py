"""The training diet: rows of a fixed number of tokens, packed with pictures, questions and text.

A question attends to its own picture and to itself only, and its positions follow the picture's:
what the model sees in training is what it sees when one question is asked.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import LlavaProcessor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from tasks.mini.questions.skills import SKILL_NAMES, SKILLS
from tasks.mini.world import language
from tasks.mini.world.drawing import draw
from tasks.mini.world.sampling import random_picture
from tools.mini.drills import option_drill, verification_drill
from tools.mini.model import IMAGE_TOKENS

Floats = NDArray[np.float64]
QUESTIONS_PER_PICTURE = 5
IGNORED = -100


@dataclass
class Row:
    """One packed row; all lists but `images` have an entry a token.

    Attributes:
        tokens: Ids.
        labels: Ids that are trained, else IGNORED.
        positions: Of the token; questions about one picture all begin behind it.
        segment: Number of the picture or text that the token belongs to.
        question: Number of the question about it, 0 for the picture or text itself.
        skill: Index into SKILL_NAMES on answers, else -1.
        images: (64, 64, 3) uint8 each.
    """

    tokens: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    segment: list[int] = field(default_factory=list)
    question: list[int] = field(default_factory=list)
    skill: list[int] = field(default_factory=list)
    images: list[NDArray[np.uint8]] = field(default_factory=list)

    def add(
        self,
        tokens: list[int],
        labels: list[int],
        start: int,
        segment: int,
        question: int,
        skill: int = -1,
    ) -> None:
        """Append tokens that follow each other from position `start` on."""
        self.tokens += tokens
        self.labels += labels
        self.positions += range(start, start + len(tokens))
        self.segment += [segment] * len(tokens)
        self.question += [question] * len(tokens)
        # The end-of-answer token at the end is always easy: it does not count for a skill's
        # accuracy.
        self.skill += [skill if label != IGNORED else -1 for label in labels[:-1]] + [-1]


class Diet:
    """How often each skill is drawn: more while its answers are still wrong.

    Attributes:
        floor: What a skill that is always answered rightly weighs.
        accuracy: Moving average by skill, in the order of SKILL_NAMES.
    """

    def __init__(self, floor: float = 0.06):
        self.floor = floor
        self.accuracy: Floats = np.zeros(len(SKILLS))

    def update(self, right: Floats, total: Floats, decay: float = 0.8) -> None:
        """Take new counts into the average.

        Args:
            right: Tokens predicted rightly, by skill.
            total: Tokens, by skill; skills without any keep their average.
            decay: Weight of the old average.
        """
        seen = total > 0
        self.accuracy[seen] = decay * self.accuracy[seen] + (1 - decay) * right[seen] / total[seen]

    def weights(self) -> Floats:
        """Unnormalized chance of each skill, in the order of SKILL_NAMES."""
        weights: Floats = self.floor + (1 - self.accuracy)
        return weights


class TrainingRows:
    """An endless stream of rows from one seed.

    Args:
        processor: Its tokenizer and image processor are used.
        length: Tokens of a row.
        seed: Equal seeds and equal diets give equal rows.
        diet: How often each skill is drawn; read again for every picture.
        text_share: Chance that a text comes next, not a picture.
    """

    def __init__(
        self,
        processor: LlavaProcessor,
        length: int,
        seed: int,
        diet: Diet,
        text_share: float = 0.15,
    ):
        self.tokenizer = processor.tokenizer
        self.image_processor = processor.image_processor
        self.length, self.diet, self.text_share = length, diet, text_share
        self.rng = random.Random(seed)
        self._cache: dict[str, list[int]] = {}
        self._words = language.words_on_signs(held_out=False)
        encode = self.tokenizer.encode
        self._text_head = encode("<s>USER: ")
        self._head = (
            self._text_head + [self.tokenizer.convert_tokens_to_ids("<image>")] * IMAGE_TOKENS
        )
        self._ask, self._end = encode(" ASSISTANT:"), [self.tokenizer.eos_token_id]

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, cached."""
        if text not in self._cache:
            if len(self._cache) > 200_000:
                self._cache.clear()
            self._cache[text] = self.tokenizer.encode(text)
        return self._cache[text]

    def word(self) -> str:
        """A word for a sign: random letters, or one of four times a training word."""
        return (
            self.rng.choice(self._words)
            if self.rng.random() < 0.25
            else language.random_letters(self.rng)
        )

    def __iter__(self) -> Iterator[Row]:
        while True:
            row = Row()
            segment = 0
            while len(row.tokens) < self.length - 24:
                if self.rng.random() < self.text_share:
                    self._add_text(row, segment)
                else:
                    self._add_picture(row, segment)
                segment += 1
            yield row

    def _add_text(self, row: Row, segment: int) -> None:
        room = self.length - len(row.tokens)
        if self.rng.random() < 0.75:
            question = self.rng.choice((option_drill, verification_drill))(self.rng)
            prompt = self._text_head + self.encode(question.prompt) + self._ask
            answer = self.encode(question.target) + self._end
            tokens, labels = prompt + answer, [IGNORED] * len(prompt) + answer
        else:
            tokens = [self.tokenizer.bos_token_id, *self.encode(language.random_text(self.rng, 5))]
            labels = [IGNORED, *tokens[1:]]
        row.add(tokens[:room], labels[:room], 0, segment, 0)

    def _add_picture(self, row: Row, segment: int) -> None:
        rng, weights = self.rng, self.diet.weights()
        first = rng.choices(SKILL_NAMES, list(weights))[0]
        kind = SKILLS[first][0]
        picture = random_picture(kind, rng, self.word)
        related = [
            name for name in SKILL_NAMES if SKILLS[name][0].split(":")[0] == kind.split(":")[0]
        ]
        shares = [weights[SKILL_NAMES.index(name)] for name in related]
        prompts: set[str] = set()
        parts: list[tuple[list[int], list[int], int]] = []
        used = len(row.tokens) + len(self._head)
        for name in [first, *rng.choices(related, shares, k=2 * QUESTIONS_PER_PICTURE)]:
            question = SKILLS[name][1](picture, rng)
            if (
                question is None
                or question.prompt in prompts
                or len(parts) == QUESTIONS_PER_PICTURE
            ):
                continue
            prompt, answer = (
                self.encode(question.prompt) + self._ask,
                self.encode(question.target) + self._end,
            )
            if used + len(prompt) + len(answer) > self.length:
                continue
            used += len(prompt) + len(answer)
            prompts.add(question.prompt)
            parts.append(
                (prompt + answer, [IGNORED] * len(prompt) + answer, SKILL_NAMES.index(name))
            )
        if not parts:
            return
        row.add(self._head, [IGNORED] * len(self._head), 0, segment, 0)
        row.images.append(np.asarray(draw(picture, rng)))
        for number, (tokens, labels, skill) in enumerate(parts, start=1):
            row.add(tokens, labels, len(self._head), segment, number, skill)


def collate(
    rows: list[Row], length: int, pad: int, image_processor: CLIPImageProcessorPil
) -> dict[str, torch.Tensor]:
    """Rows as tensors.

    Args:
        rows: B of them.
        length: T, to which they are padded or cut.
        pad: Id of the padding token.
        image_processor: Whose mean and standard deviation are used.

    Returns:
        `input_ids`, `labels`, `position_ids` and `skill` (B, T) int64; `attention` (B, 1, T, T)
        bool, True where a token may look; `pixel_values` (N, 3, 64, 64) float32, the pictures of
        all rows.
    """

    def padded(values: Iterable[list[int]], fill: int) -> torch.Tensor:
        return torch.tensor([row[:length] + [fill] * (length - len(row)) for row in values])

    segment = padded((row.segment for row in rows), -1)
    question = padded((row.question for row in rows), 0)
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    same_segment = segment[:, :, None] == segment[:, None, :]
    visible = (question[:, None, :] == 0) | (question[:, :, None] == question[:, None, :])
    images = np.stack([image for row in rows for image in row.images]).astype(np.float32) / 255
    mean = np.asarray(image_processor.image_mean, dtype=np.float32)
    std = np.asarray(image_processor.image_std, dtype=np.float32)
    return {
        "input_ids": padded((row.tokens for row in rows), pad),
        "labels": padded((row.labels for row in rows), IGNORED),
        "position_ids": padded((row.positions for row in rows), 0),
        "skill": padded((row.skill for row in rows), -1),
        "attention": (causal & same_segment & visible)[:, None],
        "pixel_values": torch.from_numpy(((images - mean) / std).transpose(0, 3, 1, 2).copy()),
    }
