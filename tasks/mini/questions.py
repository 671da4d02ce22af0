"""Questions of the nine suites about the pictures of `scenes`: one function a skill, `(picture,
rng) -> Question | None`.

A skill returns None where the picture gives it nothing to ask. The evaluation data (`suites.py`)
and the training data (`train.py`) are drawn by the same functions from different seeds, and reading
from different words.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from dataclasses import dataclass

from tasks.mini.boards import board_sum, random_board
from tasks.mini.language import CORNERS, PLURAL
from tasks.mini.scenes import (
    COLORS,
    GRID,
    KIND_WEIGHTS,
    KINDS,
    Board,
    Chart,
    Form,
    Picture,
    Scene,
    Sign,
    Thing,
    random_chart,
    random_form,
    random_scene,
    random_sign,
)

OPTION_LETTERS = "ABCD"
RELATIONS: dict[str, tuple[int, int]] = {
    "left": (0, -1),
    "right": (0, 1),
    "above": (-1, 0),
    "below": (1, 0),
}
OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}
RELATION_TEXT = {"left": "left of", "right": "right of", "above": "above", "below": "below"}


@dataclass(frozen=True)
class Question:
    """text: as the data set's column has it; options: for multiple choice, then `answer` is one of
    them.
    """

    suite: str
    category: str
    text: str
    answer: str
    options: tuple[str, ...] = ()

    @property
    def prompt(self) -> str:
        """What the model reads, as the suite's `doc_to_text` builds it (white space apart)."""
        if not self.options:
            return self.text
        listing = "\n".join(
            f"{letter}. {option}"
            for letter, option in zip(OPTION_LETTERS, self.options, strict=False)
        )
        intro = " There are several options:" if self.suite == "mmbench" else ""
        return f"{self.text}{intro}\n{listing}"

    @property
    def target(self) -> str:
        """What the model should say."""
        return OPTION_LETTERS[self.options.index(self.answer)] if self.options else self.answer


Skill = Callable[[Picture, random.Random], Question | None]


def other(rng: random.Random, values: list[str] | tuple[str, ...], *excluded: str) -> str:
    return rng.choice([v for v in values if v not in excluded])


def relations(a: Thing, b: Thing) -> list[str]:
    """Every relation that holds for `a` seen from `b`."""
    found = []
    if a.column != b.column:
        found.append("left" if a.column < b.column else "right")
    if a.row != b.row:
        found.append("above" if a.row < b.row else "below")
    return found


# ---------------------------------------------------------------------- VQAv2, GQA, POPE: scenes
def vqav2_color(picture: Picture, rng: random.Random) -> Question | None:
    if not isinstance(picture, Scene) or not picture.unique():
        return None
    thing = rng.choice(picture.unique())
    return Question("vqav2", "other", f"What color is the {thing.kind}?", thing.color)


def vqav2_count_kind(picture: Picture, rng: random.Random) -> Question | None:
    if not isinstance(picture, Scene):
        return None
    kind = rng.choice(picture.things).kind
    return Question(
        "vqav2", "number", f"How many {PLURAL[kind]} are there?", str(picture.count(kind=kind))
    )


def vqav2_count_color(picture: Picture, rng: random.Random) -> Question | None:
    if not isinstance(picture, Scene):
        return None
    color = rng.choice(picture.things).color
    return Question(
        "vqav2", "number", f"How many {color} objects are there?", str(picture.count(color=color))
    )


def vqav2_yes_no(picture: Picture, rng: random.Random) -> Question | None:
    if not isinstance(picture, Scene) or not picture.unique():
        return None
    thing = rng.choice(picture.unique())
    if rng.random() < 0.5:
        return Question("vqav2", "yes/no", f"Is the {thing.kind} {thing.color}?", "yes")
    return Question(
        "vqav2", "yes/no", f"Is the {thing.kind} {other(rng, list(COLORS), thing.color)}?", "no"
    )


def _neighbours(picture: Scene) -> list[tuple[Thing, str, Thing]]:
    """(thing, relation, anchor) for things that touch an anchor of a unique kind."""
    at = {(t.row, t.column): t for t in picture.things}
    return [
        (at[place], relation, anchor)
        for anchor in picture.unique()
        for relation, (down, across) in RELATIONS.items()
        if (place := (anchor.row + down, anchor.column + across)) in at
    ]


def gqa_neighbour(picture: Picture, rng: random.Random) -> Question | None:
    if not isinstance(picture, Scene) or not (pairs := _neighbours(picture)):
        return None
    thing, relation, anchor = rng.choice(pairs)
    return Question(
        "gqa", "query", f"What is {RELATION_TEXT[relation]} the {anchor.kind}?", thing.kind
    )


def gqa_neighbour_color(picture: Picture, rng: random.Random) -> Question | None:
    if not isinstance(picture, Scene) or not (pairs := _neighbours(picture)):
        return None
    thing, relation, anchor = rng.choice(pairs)
    return Question(
        "gqa",
        "query",
        f"What color is the object {RELATION_TEXT[relation]} the {anchor.kind}?",
        thing.color,
    )


def gqa_compare(picture: Picture, rng: random.Random) -> Question | None:
    if not isinstance(picture, Scene) or len(picture.unique()) < 2:
        return None
    a, b = rng.sample(picture.unique(), 2)
    relation = rng.choice(relations(a, b))
    answer = "yes" if rng.random() < 0.5 else "no"
    asked = relation if answer == "yes" else OPPOSITE[relation]
    return Question(
        "gqa",
        "verify",
        f"Is the {a.color} {a.kind} {RELATION_TEXT[asked]} the {b.color} {b.kind}?",
        answer,
    )


def pope_questions(picture: Scene, split: str, rng: random.Random) -> list[Question]:
    """Three present and three absent kinds of one picture, asked as POPE does. split: random,
    popular or adversarial.
    """
    present = list(dict.fromkeys(t.kind for t in picture.things))
    absent = [k for k in KINDS if k not in present]
    if split == "popular":
        absent.sort(key=lambda k: -KIND_WEIGHTS[KINDS.index(k)])
    elif split == "adversarial":
        absent.sort(key=lambda k: -sum(_together(k, p) for p in present))
    else:
        rng.shuffle(absent)
    size = min(3, len(present))
    chosen = [(k, "yes") for k in rng.sample(present, size)] + [(k, "no") for k in absent[:size]]
    return [
        Question("pope", split, f"Is there a {kind} in the image?", answer)
        for kind, answer in chosen
    ]


def _together(a: str, b: str) -> float:
    """How often two kinds share a picture, up to a constant:

    `random_scene` takes half of a picture from one category.
    """
    return 4.0 * (KINDS.index(a) // 4 == KINDS.index(b) // 4) + KIND_WEIGHTS[KINDS.index(a)]


def pope(picture: Picture, rng: random.Random) -> Question | None:
    if not isinstance(picture, Scene):
        return None
    return rng.choice(
        pope_questions(picture, rng.choice(("random", "popular", "adversarial")), rng)
    )


# ---------------------------------------------------------------------- TextVQA, DocVQA, ChartQA
def textvqa(picture: Picture, rng: random.Random) -> Question | None:
    if not isinstance(picture, Sign):
        return None
    place = rng.randrange(2)
    word = picture.words[place]
    text = (
        f"What is the {word.color} word?"
        if rng.random() < 0.6
        else f"What is the {('top', 'bottom')[place]} word?"
    )
    return Question("textvqa", "reading", text, word.text)


def docvqa(picture: Picture, rng: random.Random) -> Question | None:
    if not isinstance(picture, Form):
        return None
    icon, code = rng.choice(picture.fields)
    return Question("docvqa", "form", f"What is the code of the {icon}?", code)


def chartqa_value(picture: Picture, rng: random.Random) -> Question | None:
    if not isinstance(picture, Chart):
        return None
    place = rng.randrange(GRID)
    return Question(
        "chartqa",
        "augmented_test",
        f"What is the value of the {picture.colors[place]} bar?",
        str(picture.heights[place]),
    )


def chartqa_extreme(picture: Picture, rng: random.Random) -> Question | None:
    if not isinstance(picture, Chart):
        return None
    name, pick = rng.choice((("highest", max), ("lowest", min)))
    color = picture.colors[picture.heights.index(pick(picture.heights))]
    return Question("chartqa", "human_test", f"Which bar is the {name}?", color)


def chartqa_extreme_value(picture: Picture, rng: random.Random) -> Question | None:
    if not isinstance(picture, Chart):
        return None
    name, pick = rng.choice((("highest", max), ("lowest", min)))
    return Question(
        "chartqa", "human_test", f"What is the value of the {name} bar?", str(pick(picture.heights))
    )


def chartqa_count(picture: Picture, rng: random.Random) -> Question | None:
    if not isinstance(picture, Chart):
        return None
    bound = rng.randint(2, 6)
    return Question(
        "chartqa",
        "human_test",
        f"How many bars are higher than {bound}?",
        str(sum(h > bound for h in picture.heights)),
    )


# ---------------------------------------------------------------------- MathVista
def math_sum(picture: Picture, rng: random.Random) -> Question | None:
    value = board_sum(picture)
    return (
        None
        if value is None
        else Question("mathvista", "arithmetic", "What is the answer?", str(value))
    )


def math_sequence(picture: Picture, rng: random.Random) -> Question | None:
    if (
        not isinstance(picture, Board)
        or not (text := "".join(picture.lines).strip()).endswith("?")
        or len(text) != 4
    ):
        return None
    first, second = int(text[0]), int(text[1])
    return Question(
        "mathvista",
        "sequence",
        "Which number is next in the sequence?",
        str(second + 2 * (second - first)),
    )


def math_corners(picture: Picture, rng: random.Random) -> Question | None:
    if not isinstance(picture, Scene):
        return None
    shapes = [t for t in picture.things if t.kind in CORNERS and picture.count(color=t.color) == 1]
    if not shapes:
        return None
    thing = rng.choice(shapes)
    return Question(
        "mathvista",
        "geometry",
        f"How many corners has the {thing.color} object?",
        str(CORNERS[thing.kind]),
    )


def math_extreme(picture: Picture, rng: random.Random) -> Question | None:
    if not isinstance(picture, Board) or not all(
        len(line) == 1 and line.isdigit() for line in picture.lines
    ):
        return None
    name, pick = rng.choice((("largest", max), ("smallest", min)))
    return Question("mathvista", "comparison", f"What is the {name} number?", pick(picture.lines))


def as_choice(
    question: Question, picture: Picture, rng: random.Random, *, suite: str, count: int = 4
) -> Question:
    """The same question with lettered options; wrong options come from the picture where it offers
    any.
    """
    answer = question.answer
    if answer in COLORS:
        pool, near = list(COLORS), [g.color for g in picture.glyphs()]
    elif answer in KINDS:
        pool, near = list(KINDS), [g.symbol for g in picture.glyphs() if g.symbol in KINDS]
    else:
        pool, near = (
            [str(n) for n in range(10)]
            + ([str(int(answer) + d) for d in (-2, -1, 1, 2)] if int(answer) > 9 else []),
            [],
        )
    near = [value for value in dict.fromkeys(near) if value != answer]
    wrong = rng.sample(near, min(len(near), rng.randint(0, count - 1)))
    wrong += rng.sample([v for v in pool if v != answer and v not in wrong], count - 1 - len(wrong))
    options = [answer, *wrong]
    rng.shuffle(options)
    return dataclasses.replace(question, suite=suite, options=tuple(options))


MMBENCH_CATEGORIES: dict[str, tuple[str, Skill]] = {
    "attribute_recognition": ("finegrained_perception (instance-level)", vqav2_color),
    "object_localization": ("finegrained_perception (instance-level)", vqav2_count_kind),
    "spatial_relationship": ("finegrained_perception (cross-instance)", gqa_neighbour),
    "attribute_comparison": ("finegrained_perception (cross-instance)", chartqa_extreme),
    "structuralized_imagetext_understanding": ("logic_reasoning", chartqa_value),
}


def mmbench(picture: Picture, rng: random.Random) -> Question | None:
    names = list(MMBENCH_CATEGORIES)
    rng.shuffle(names)
    for name in names:
        question = MMBENCH_CATEGORIES[name][1](picture, rng)
        if question is not None:
            return dataclasses.replace(
                as_choice(question, picture, rng, suite="mmbench"), category=name
            )
    return None


MATHVISTA_SKILLS: tuple[Skill, ...] = (math_sum, math_sequence, math_corners, math_extreme)


def mathvista_choice(picture: Picture, rng: random.Random) -> Question | None:
    for skill in rng.sample(MATHVISTA_SKILLS, len(MATHVISTA_SKILLS)):
        question = skill(picture, rng)
        if question is not None:
            return as_choice(question, picture, rng, suite="mathvista")
    return None


# ---------------------------------------------------------------------- pictures for the skills
def random_picture(kind: str, rng: random.Random, word: Callable[[], str]) -> Picture:
    """kind: scene, sign, form, chart, board, or board:CONTENT. word: source of the words on signs."""
    name, _, content = kind.partition(":")
    if name == "scene":
        return random_scene(rng)
    if name == "sign":
        return random_sign(rng, word)
    if name == "form":
        return random_form(rng)
    if name == "chart":
        return random_chart(rng)
    return random_board(rng, content=content or None)
