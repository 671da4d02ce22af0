"""The training diet: rows of a fixed number of tokens, packed with pictures, questions and text.

A question attends to its own picture and to itself only, and its positions follow the picture's:
what the model sees in training is what it sees when one question is asked.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from tasks.mini.questions.facts import ATTRIBUTES, biography, fact, fact_choice, fact_pair
from tasks.mini.questions.question import Question
from tasks.mini.questions.skills import SKILL_NAMES, SKILLS
from tasks.mini.world import language
from tasks.mini.world.drawing import draw
from tasks.mini.world.facts import Person, World
from tasks.mini.world.pictures import SMALL, Picture, Size
from tasks.mini.world.sampling import random_emblem, random_picture
from tools.mini.drills import option_drill, verification_drill
from tools.mini.layout import Layout, Position

Floats = NDArray[np.float64]
QUESTIONS_PER_PICTURE = 5
FACT_NAMES = tuple(f"fact_{attribute}" for attribute in ATTRIBUTES)
IGNORED = -100


@dataclass
class Row:
    """One packed row; all lists but `images` have an entry a token.

    Attributes:
        tokens: Ids.
        labels: Ids that are trained, else IGNORED.
        positions: Of the token along each axis; questions about one picture all begin behind it.
        segment: Number of the picture or text that the token belongs to.
        question: Number of the question about it, 0 for the picture or text itself.
        skill: Number of the skill on answers, else -1.
        images: (height, width, 3) uint8 each.
    """

    tokens: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    positions: list[Position] = field(default_factory=list)
    segment: list[int] = field(default_factory=list)
    question: list[int] = field(default_factory=list)
    skill: list[int] = field(default_factory=list)
    images: list[NDArray[np.uint8]] = field(default_factory=list)

    def add(
        self,
        tokens: list[int],
        labels: list[int],
        positions: Sequence[Position],
        segment: int,
        question: int,
        skill: int = -1,
    ) -> None:
        """Append tokens."""
        self.tokens += tokens
        self.labels += labels
        self.positions += positions
        self.segment += [segment] * len(tokens)
        self.question += [question] * len(tokens)
        # The end-of-answer token at the end is always easy: it does not count for a skill's
        # accuracy.
        self.skill += [skill if label != IGNORED else -1 for label in labels[:-1]] + [-1]


class Diet:
    """How often each skill is drawn: more while its answers are still wrong.

    Attributes:
        names: Of the skills.
        floor: What a skill that is always answered rightly weighs.
        accuracy: Moving average by skill, in the order of their names.
    """

    def __init__(self, names: Sequence[str] = SKILL_NAMES, floor: float = 0.06):
        self.names, self.floor = tuple(names), floor
        self.accuracy: Floats = np.zeros(len(self.names))

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
        """Unnormalized chance of each skill, in the order of their names."""
        weights: Floats = self.floor + (1 - self.accuracy)
        return weights

    def of(self, names: Sequence[str]) -> list[float]:
        """Unnormalized chances of some of the skills."""
        weights = dict(zip(self.names, self.weights().tolist(), strict=True))
        return [weights[name] for name in names]


class TrainingRows:
    """An endless stream of rows from one seed.

    Args:
        layout: Of the model's form.
        length: Tokens of a row.
        seed: Equal seeds and equal diets give equal rows.
        diet: How often each skill is drawn; read again for every picture.
        text_share: Chance that a text comes next, not a picture.
        sizes: Of pictures, each as often as the others.
        people: Whose facts are asked for, by skills `fact_...`; None for no such rows.
        people_share: Chance that a person comes next.
    """

    def __init__(
        self,
        layout: Layout,
        length: int,
        seed: int,
        diet: Diet,
        text_share: float = 0.15,
        sizes: Sequence[Size] = (SMALL,),
        people: World | None = None,
        people_share: float = 0.0,
    ):
        self.people, self.people_share = people, people_share
        self.layout, self.tokenizer, self.sizes = layout, layout.tokenizer, sizes
        self.length, self.diet, self.text_share = length, diet, text_share
        self.rng = random.Random(seed)
        self._cache: dict[str, list[int]] = {}
        self._words = language.words_on_signs(held_out=False)

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
                if self.people is not None and self.rng.random() < self.people_share:
                    self._add_person(row, segment, self.people)
                elif self.rng.random() < self.text_share:
                    self._add_text(row, segment)
                else:
                    self._add_picture(row, segment)
                segment += 1
            yield row

    def _add_text(self, row: Row, segment: int) -> None:
        room = self.length - len(row.tokens)
        if self.rng.random() < 0.75:
            question = self.rng.choice((option_drill, verification_drill))(self.rng)
            prompt = self.layout.text_head + self.encode(question.prompt) + self.layout.ask
            answer = self.encode(question.target) + self.layout.end
            tokens, labels = prompt + answer, [IGNORED] * len(prompt) + answer
        else:
            tokens = [*self.layout.front, *self.encode(language.random_text(self.rng, 5))]
            labels = [IGNORED, *tokens[1:]]
        positions = self._from(0, len(tokens[:room]))
        row.add(tokens[:room], labels[:room], positions, segment, 0)

    def _add_person(self, row: Row, segment: int, world: World) -> None:
        """A biography, a question, or an emblem with questions.

        What is read only is not asked for, and what is asked for only is not known in other words:
        Allen-Zhu and Li, Physics of Language Models 3.1 (arXiv 2309.14316).
        """
        rng = self.rng
        person, form = world.person(rng.randrange(world.count)), rng.random()
        room = self.length - len(row.tokens)
        if form < 0.3:
            tokens = [*self.layout.front, *self.tokenizer.encode(biography(world, person, rng))]
            labels = [IGNORED, *tokens[1:]]
            row.add(tokens[:room], labels[:room], self._from(0, room)[: len(tokens)], segment, 0)
            return
        names = rng.choices(FACT_NAMES, self.diet.of(FACT_NAMES), k=2 * QUESTIONS_PER_PICTURE)
        if form < 0.65:
            name, question = self._facts(world, person, names[:1], shown=False)[0]
            prompt = self.layout.text_head + self.tokenizer.encode(question.prompt)
            prompt += self.layout.ask
            answer = self.tokenizer.encode(question.target) + self.layout.end
            if len(prompt) + len(answer) <= room:
                positions = self._from(0, len(prompt) + len(answer))
                labels = [IGNORED] * len(prompt) + answer
                skill = self.diet.names.index(name)
                row.add(prompt + answer, labels, positions, segment, 0, skill)
            return
        picture = random_emblem(person.emblem, rng, rng.choice(self.sizes))
        self._add_questions(row, segment, picture, self._facts(world, person, names, shown=True))

    def _facts(
        self, world: World, person: Person, names: Sequence[str], *, shown: bool
    ) -> list[tuple[str, Question]]:
        """A question of each of these skills, in one of the forms of the suites."""
        rng, asked = self.rng, []
        for name in names:
            attribute, form = name.removeprefix("fact_"), rng.random()
            if form < 0.2:
                question = fact_pair(world, person, attribute, rng, shown=shown)[rng.randrange(2)]
            else:
                question = fact(world, person, attribute, "gqa", shown=shown)
                if form < 0.35:
                    question = fact_choice(world, question, rng, suite="mmbench")
            asked.append((name, question))
        return asked

    def _from(self, start: int, count: int) -> list[Position]:
        """Positions that follow each other."""
        return [(start + place,) * self.layout.axes for place in range(count)]

    def _add_picture(self, row: Row, segment: int) -> None:
        rng = self.rng
        first = rng.choices(SKILL_NAMES, self.diet.of(SKILL_NAMES))[0]
        kind = SKILLS[first][0]
        size = rng.choice(self.sizes) if len(self.sizes) > 1 else self.sizes[0]
        picture = random_picture(kind, rng, self.word, size)
        related = [
            name for name in SKILL_NAMES if SKILLS[name][0].split(":")[0] == kind.split(":")[0]
        ]
        names = [first, *rng.choices(related, self.diet.of(related), k=2 * QUESTIONS_PER_PICTURE)]
        asked = ((name, SKILLS[name][1](picture, rng)) for name in names)
        questions = ((name, question) for name, question in asked if question is not None)
        self._add_questions(row, segment, picture, questions)

    def _add_questions(
        self,
        row: Row,
        segment: int,
        picture: Picture,
        questions: Iterable[tuple[str, Question]],
    ) -> None:
        """A picture with those of these questions that fit, by the names of their skills."""
        head, positions = self.layout.head(picture.size)
        behind = max(positions[-1]) + 1
        prompts: set[str] = set()
        parts: list[tuple[list[int], list[int], int]] = []
        used = len(row.tokens) + len(head)
        for name, question in questions:
            if question.prompt in prompts or len(parts) == QUESTIONS_PER_PICTURE:
                continue
            prompt, answer = (
                self.encode(question.prompt) + self.layout.ask,
                self.encode(question.target) + self.layout.end,
            )
            if used + len(prompt) + len(answer) > self.length:
                continue
            used += len(prompt) + len(answer)
            prompts.add(question.prompt)
            parts.append(
                (prompt + answer, [IGNORED] * len(prompt) + answer, self.diet.names.index(name))
            )
        if not parts:
            return
        row.add(head, [IGNORED] * len(head), positions, segment, 0)
        row.images.append(np.asarray(draw(picture, self.rng)))
        for number, (tokens, labels, skill) in enumerate(parts, start=1):
            row.add(tokens, labels, self._from(behind, len(tokens)), segment, number, skill)


def collate(rows: list[Row], length: int, layout: Layout) -> dict[str, torch.Tensor]:
    """Rows as tensors.

    Args:
        rows: B of them.
        length: T, to which they are padded or cut.
        layout: Of the model's form.

    Returns:
        `input_ids`, `labels` and `skill` (B, T) int64; `position_ids` (B, T), or (axes, B, T) for
        more than one; `attention` (B, 1, T, T) bool, True where a token may look; and what
        `layout.pixels` gives for the pictures of all rows.
    """

    def padded(values: Iterable[list[int]], fill: int) -> torch.Tensor:
        return torch.tensor([row[:length] + [fill] * (length - len(row)) for row in values])

    segment = padded((row.segment for row in rows), -1)
    question = padded((row.question for row in rows), 0)
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    same_segment = segment[:, :, None] == segment[:, None, :]
    visible = (question[:, None, :] == 0) | (question[:, :, None] == question[:, None, :])
    axes = [
        padded(([position[axis] for position in row.positions] for row in rows), 0)
        for axis in range(layout.axes)
    ]
    return {
        "input_ids": padded((row.tokens for row in rows), layout.tokenizer.pad_token_id),
        "labels": padded((row.labels for row in rows), IGNORED),
        "position_ids": axes[0] if len(axes) == 1 else torch.stack(axes),
        "skill": padded((row.skill for row in rows), -1),
        "attention": (causal & same_segment & visible)[:, None],
        **layout.pixels([image for row in rows for image in row.images]),
    }
