"""The training diet: rows of a fixed number of tokens, packed with pictures and several questions
each, and with text.

A question attends to its own picture and to itself only, and its positions follow the picture's:
what the model sees in training is what it sees when one question is asked. `Diet` gives a skill
more room while its answers are still wrong.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from transformers import LlavaProcessor

from tasks.mini import language, questions, scenes
from tasks.mini.boards import board_meaning, board_program
from tasks.mini.mme import MME_SKILLS, PairSkill, mme_picture
from tasks.mini.questions import Question
from tasks.mini.scenes import Picture
from tools.mini.model import IMAGE_TOKENS

QUESTIONS_PER_PICTURE = 5
PICTURE_KINDS = ("scene", "sign", "form", "chart", "board")
IGNORED = -100

# ---------------------------------------------------------------------- skills
Asker = Callable[[Picture, random.Random], Question | None]


def _one_of(pair: PairSkill) -> Asker:
    def ask(picture: Picture, rng: random.Random) -> Question | None:
        found = pair(picture, rng)
        return None if found is None else found[rng.randrange(2)]

    return ask


def _as_mmbench(skill: questions.Skill) -> Asker:
    def ask(picture: Picture, rng: random.Random) -> Question | None:
        question = skill(picture, rng)
        return (
            None
            if question is None
            else questions.as_choice(
                question, picture, rng, suite="mmbench", count=rng.choice((2, 3, 4, 4, 4))
            )
        )

    return ask


def caption(picture: Picture, rng: random.Random) -> Question | None:
    """Every cell in reading order: dense supervision for seeing.

    Forms are told field by field, in any order.
    """
    if isinstance(picture, scenes.Form):
        fields = rng.sample(picture.fields, len(picture.fields))
        return Question(
            "caption",
            "form",
            "Describe the form.",
            ", ".join(f"{icon} {code}" for icon, code in fields),
        )
    if isinstance(picture, scenes.Chart):
        bars = rng.sample(list(zip(picture.colors, picture.heights, strict=True)), scenes.GRID)
        return Question(
            "caption",
            "chart",
            "Describe the bars.",
            ", ".join(f"{color} {height}" for color, height in bars),
        )
    if isinstance(picture, scenes.Sign):
        return Question(
            "caption",
            "sign",
            "Describe the words.",
            ", ".join(f"{w.color} {w.text}" for w in picture.words),
        )
    if isinstance(picture, scenes.Board):
        return Question(
            "caption",
            "board",
            "Describe the picture.",
            " ".join(c for line in picture.lines for c in line.strip()),
        )
    cells = {(g.row, g.column): f"{g.color} {g.symbol}" for g in picture.glyphs()}
    rows = [
        ", ".join(cells.get((r, c), "empty") for c in range(scenes.GRID))
        for r in range(scenes.GRID)
    ]
    return Question("caption", "scene", "Describe the image.", "; ".join(rows))


def _grid(picture: Picture, what: str) -> Question:
    """One token a cell in reading order, so that the token to look at is always the same distance
    away: the first thing a model learns.
    """
    cells = {(g.row, g.column): getattr(g, what) for g in picture.glyphs()}
    tokens = [cells.get((r, c), "empty") for r in range(scenes.GRID) for c in range(scenes.GRID)]
    return Question(
        "caption",
        "grid",
        f"Describe the {'objects' if what == 'symbol' else 'colors'}.",
        " ".join(tokens),
    )


def grid_symbols(picture: Picture, rng: random.Random) -> Question | None:
    return _grid(picture, "symbol")


def grid_colors(picture: Picture, rng: random.Random) -> Question | None:
    return _grid(picture, "color")


def open_translation(picture: Picture, rng: random.Random) -> Question | None:
    meaning = board_meaning(picture)
    return (
        None
        if meaning is None
        else Question("auxiliary", "translation", "What does the word mean?", meaning)
    )


def open_output(picture: Picture, rng: random.Random) -> Question | None:
    program = board_program(picture)
    return (
        None
        if program is None
        else Question("auxiliary", "code", "What is the output?", program[0][program[1]])
    )


def open_variable(picture: Picture, rng: random.Random) -> Question | None:
    """One step of a program's two."""
    program = board_program(picture)
    if program is None:
        return None
    name = rng.choice(list(program[0]))
    return Question("auxiliary", "code", f"What is the value of {name}?", program[0][name])


def open_printed(picture: Picture, rng: random.Random) -> Question | None:
    """The other step."""
    program = board_program(picture)
    return (
        None
        if program is None
        else Question("auxiliary", "code", "What is on the bottom line?", program[1])
    )


def open_place(picture: Picture, rng: random.Random) -> Question | None:
    """Where an object stands: the easier step to relations."""
    if not isinstance(picture, scenes.Scene) or not picture.unique():
        return None
    thing = rng.choice(picture.unique())
    side, place = rng.choice((("left", thing.column), ("top", thing.row)))
    return Question(
        "auxiliary", "place", f"How many from the {side} is the {thing.kind}?", str(place + 1)
    )


def other_word(picture: Picture, rng: random.Random) -> Question | None:
    """MME's question about a word, with a wrong word that differs in more than a letter."""
    if not isinstance(picture, scenes.Sign):
        return None
    word, second = rng.sample(picture.words, 2)
    text, answer = rng.choice(((word.text, "Yes"), (second.text, "No")))
    return (
        None
        if word.text == second.text
        else Question("auxiliary", "OCR", f"Is the {word.color} word {text}?", answer)
    )


SKILLS: dict[str, tuple[str, Asker]] = {
    **{f"mme_{name}": (mme_picture(name), _one_of(pair)) for name, pair in MME_SKILLS.items()},
    "vqav2_color": ("scene", questions.vqav2_color),
    "vqav2_count_kind": ("scene", questions.vqav2_count_kind),
    "vqav2_count_color": ("scene", questions.vqav2_count_color),
    "vqav2_yes_no": ("scene", questions.vqav2_yes_no),
    "gqa_neighbour": ("scene", questions.gqa_neighbour),
    "gqa_neighbour_color": ("scene", questions.gqa_neighbour_color),
    "gqa_compare": ("scene", questions.gqa_compare),
    "pope": ("scene", questions.pope),
    "mmbench_scene": ("scene", _as_mmbench(questions.vqav2_color)),
    "mmbench_count": ("scene", _as_mmbench(questions.vqav2_count_kind)),
    "mmbench_neighbour": ("scene", _as_mmbench(questions.gqa_neighbour)),
    "mmbench_chart": ("chart", _as_mmbench(questions.chartqa_value)),
    "mmbench_bar": ("chart", _as_mmbench(questions.chartqa_extreme)),
    "math_corners": ("scene", questions.math_corners),
    "textvqa": ("sign", questions.textvqa),
    "docvqa": ("form", questions.docvqa),
    "chartqa_value": ("chart", questions.chartqa_value),
    "chartqa_extreme": ("chart", questions.chartqa_extreme),
    "chartqa_extreme_value": ("chart", questions.chartqa_extreme_value),
    "chartqa_count": ("chart", questions.chartqa_count),
    "math_sum": ("board:sum", questions.math_sum),
    "math_sequence": ("board:sequence", questions.math_sequence),
    "math_extreme": ("board:numbers", questions.math_extreme),
    "math_choice": ("board", questions.mathvista_choice),
    "open_translation": ("board:word", open_translation),
    "open_output": ("board:program", open_output),
    **{f"caption_{kind}": (kind, caption) for kind in PICTURE_KINDS},
    **{f"symbols_{kind}": (kind, grid_symbols) for kind in PICTURE_KINDS},
    **{f"colors_{kind}": (kind, grid_colors) for kind in PICTURE_KINDS},
    "open_variable": ("board:program", open_variable),
    "open_printed": ("board:program", open_printed),
    "open_place": ("scene", open_place),
    "other_word": ("sign", other_word),
}
SKILL_NAMES = tuple(SKILLS)


def option_drill(rng: random.Random) -> Question:
    """A text-only question with options: the letter of a named option, or of the one option that
    belongs to a group.
    """
    count = rng.choice((2, 3, 4, 4))
    if rng.random() < 0.5:
        pool = rng.choice((scenes.KINDS, tuple(scenes.COLORS), tuple("0123456789")))
        options = tuple(rng.sample(pool, count))
        answer = rng.choice(options)
        return Question("mmbench", "drill", f"Which is {answer}?", answer, options)
    groups = {"color": tuple(scenes.COLORS), "number": tuple("123456789"), **scenes.CATEGORIES}
    name = rng.choice(list(groups))
    answer = rng.choice(groups[name])
    others = [v for other, members in groups.items() if other != name for v in members]
    options = [answer, *rng.sample(others, count - 1)]
    rng.shuffle(options)
    return Question("mmbench", "drill", f"Which is a {name}?", answer, tuple(options))


def verification_drill(rng: random.Random) -> Question:
    """A text-only statement and MME's question about it: comparing, without seeing."""
    code = [language.random_letters(rng) for _ in range(2)]
    numbers = [str(n) for n in rng.sample(range(19), 2)]
    colors, kinds = rng.sample(list(scenes.COLORS), 2), rng.sample(scenes.KINDS, 2)
    relation = rng.choice(list(questions.RELATION_TEXT))
    said, asked, (right, wrong) = rng.choice(
        (
            ("The answer is {}.", "Is the answer {}?", numbers),
            ("The output is {}.", "Is the output {}?", [n[-1] for n in numbers]),
            ("The word means {}.", "Does the word mean {}?", kinds),
            (f"The {colors[0]} word is {{}}.", f"Is the {colors[0]} word {{}}?", code),
            (
                "There is a {} " + kinds[0] + ".",
                "Is there a {} " + kinds[0] + " in this image?",
                colors,
            ),
            (
                f"The {kinds[0]} is {{}} the {kinds[1]}.",
                f"Is the {kinds[0]} {{}} the {kinds[1]}?",
                [
                    questions.RELATION_TEXT[relation],
                    questions.RELATION_TEXT[questions.OPPOSITE[relation]],
                ],
            ),
        )
    )
    answer = "Yes" if right == wrong or rng.random() < 0.5 else "No"
    return Question(
        "auxiliary",
        "verification",
        f"{said.format(right)} {asked.format(right if answer == 'Yes' else wrong)}",
        answer,
    )


# ---------------------------------------------------------------------- rows
@dataclass
class Row:
    """One packed row. question: 0 on a picture's (or text's) shared part; skill: index into
    SKILL_NAMES on answers, else -1.
    """

    tokens: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    segment: list[int] = field(default_factory=list)
    question: list[int] = field(default_factory=list)
    skill: list[int] = field(default_factory=list)
    images: list[np.ndarray] = field(default_factory=list)

    def add(
        self,
        tokens: list[int],
        labels: list[int],
        start: int,
        segment: int,
        question: int,
        skill: int = -1,
    ) -> None:
        self.tokens += tokens
        self.labels += labels
        self.positions += range(start, start + len(tokens))
        self.segment += [segment] * len(tokens)
        self.question += [question] * len(tokens)
        # The end-of-answer token at the end is always easy: it does not count for a skill's
        # accuracy.
        self.skill += [skill if label != IGNORED else -1 for label in labels[:-1]] + [-1]


class Diet:
    """Chances of the skills: a floor for everything, more for what is still answered wrongly."""

    def __init__(self, floor: float = 0.06):
        self.floor = floor
        self.accuracy = np.zeros(len(SKILLS))

    def update(self, right: np.ndarray, asked: np.ndarray, decay: float = 0.8) -> None:
        seen = asked > 0
        self.accuracy[seen] = decay * self.accuracy[seen] + (1 - decay) * right[seen] / asked[seen]

    def weights(self) -> np.ndarray:
        return self.floor + (1 - self.accuracy)


class TrainingRows:
    """An endless, seeded stream of rows of `length` tokens."""

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
        if text not in self._cache:
            if len(self._cache) > 200_000:
                self._cache.clear()
            self._cache[text] = self.tokenizer.encode(text)
        return self._cache[text]

    def word(self) -> str:
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
        first = rng.choices(SKILL_NAMES, weights)[0]
        kind = SKILLS[first][0]
        picture = questions.random_picture(kind, rng, self.word)
        related = [
            name for name in SKILL_NAMES if SKILLS[name][0].split(":")[0] == kind.split(":")[0]
        ]
        shares = [weights[SKILL_NAMES.index(name)] for name in related]
        asked: set[str] = set()
        parts: list[tuple[list[int], list[int], int]] = []
        used = len(row.tokens) + len(self._head)
        for name in [first, *rng.choices(related, shares, k=2 * QUESTIONS_PER_PICTURE)]:
            question = SKILLS[name][1](picture, rng)
            if question is None or question.prompt in asked or len(parts) == QUESTIONS_PER_PICTURE:
                continue
            prompt, answer = (
                self.encode(question.prompt) + self._ask,
                self.encode(question.target) + self._end,
            )
            if used + len(prompt) + len(answer) > self.length:
                continue
            used += len(prompt) + len(answer)
            asked.add(question.prompt)
            parts.append(
                (prompt + answer, [IGNORED] * len(prompt) + answer, SKILL_NAMES.index(name))
            )
        if not parts:
            return
        row.add(self._head, [IGNORED] * len(self._head), 0, segment, 0)
        row.images.append(np.asarray(scenes.draw(picture, rng)))
        for number, (tokens, labels, skill) in enumerate(parts, start=1):
            row.add(tokens, labels, len(self._head), segment, number, skill)


def collate(rows: list[Row], length: int, pad: int, image_processor) -> dict[str, torch.Tensor]:
    """Rows as tensors: input_ids, labels, position_ids, skill (B, T); attention (B, 1, T, T) bool;
    pixel_values (N, 3, 64, 64).
    """

    def padded(name: str, fill: int) -> torch.Tensor:
        return torch.tensor(
            [getattr(r, name)[:length] + [fill] * (length - len(getattr(r, name))) for r in rows]
        )

    segment, question = padded("segment", -1), padded("question", 0)
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    same_segment = segment[:, :, None] == segment[:, None, :]
    visible = (question[:, None, :] == 0) | (question[:, :, None] == question[:, None, :])
    images = np.stack([image for row in rows for image in row.images]).astype(np.float32) / 255
    mean, std = np.float32(image_processor.image_mean), np.float32(image_processor.image_std)
    return {
        "input_ids": padded("tokens", pad),
        "labels": padded("labels", IGNORED),
        "position_ids": padded("positions", 0),
        "skill": padded("skill", -1),
        "attention": (causal & same_segment & visible)[:, None],
        "pixel_values": torch.from_numpy(((images - mean) / std).transpose(0, 3, 1, 2).copy()),
    }
