"""Questions of MathVista: sums and numbers on boards, and corners of objects."""

from __future__ import annotations

import random

from tasks.mini.questions.question import Question, Skill, as_choice
from tasks.mini.world.boards import board_sum
from tasks.mini.world.language import CORNERS
from tasks.mini.world.pictures import Board, Picture, Scene


def math_sum(picture: Picture, rng: random.Random) -> Question | None:
    """The result of a sum on a board."""
    value = board_sum(picture)
    return (
        None
        if value is None
        else Question("mathvista", "arithmetic", "What is the answer?", str(value))
    )


def math_sequence(picture: Picture, rng: random.Random) -> Question | None:
    """The next number of a sequence on a board."""
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
    """How many corners the only object of a colour has."""
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
    """The largest or smallest number on a board."""
    if not isinstance(picture, Board) or not all(
        len(line) == 1 and line.isdigit() for line in picture.lines
    ):
        return None
    name, pick = rng.choice((("largest", max), ("smallest", min)))
    return Question("mathvista", "comparison", f"What is the {name} number?", pick(picture.lines))


MATHVISTA_SKILLS: tuple[Skill, ...] = (math_sum, math_sequence, math_corners, math_extreme)


def mathvista_choice(picture: Picture, rng: random.Random) -> Question | None:
    """One of the other four with options."""
    for skill in rng.sample(MATHVISTA_SKILLS, len(MATHVISTA_SKILLS)):
        question = skill(picture, rng)
        if question is not None:
            return as_choice(question, picture, rng, suite="mathvista")
    return None
