"""MME's pairs: two questions about a picture, the right answer of one yes, of the other no."""

from __future__ import annotations

import random
from collections.abc import Callable

from tasks.mini.questions.question import Question, other
from tasks.mini.questions.scenes import OPPOSITE, RELATION_TEXT, relations
from tasks.mini.world.boards import board_meaning, board_program, board_sum
from tasks.mini.world.language import DICTIONARY, PLURAL, PROPERTIES
from tasks.mini.world.pictures import COLORS, KINDS, LETTERS, Picture, Scene, Sign

Pair = tuple[Question, Question]
PairSkill = Callable[[Picture, random.Random], Pair | None]


def _yes_no(suite: str, category: str, yes: str, no: str) -> Pair:
    return Question(suite, category, yes, "Yes"), Question(suite, category, no, "No")


def mme_existence(picture: Picture, rng: random.Random) -> Pair | None:
    """Whether a kind is in the scene."""
    if not isinstance(picture, Scene):
        return None
    kinds = {t.kind for t in picture.things}
    if kinds == set(KINDS):
        return None
    present = rng.choice(picture.things).kind
    absent = other(rng, KINDS, *kinds)
    return _yes_no(
        "mme", "existence", *(f"Is there a {kind} in this image?" for kind in (present, absent))
    )


def mme_count(picture: Picture, rng: random.Random) -> Pair | None:
    """Whether the number of objects of a kind is right."""
    if not isinstance(picture, Scene):
        return None
    kind = rng.choice(picture.things).kind
    count = picture.count(kind=kind)
    wrong = rng.choice([n for n in range(1, 5) if n != count])
    return _yes_no(
        "mme", "count", *(f"Is the number of {PLURAL[kind]} {n}?" for n in (count, wrong))
    )


def mme_position(picture: Picture, rng: random.Random) -> Pair | None:
    """Whether a relation holds between two objects."""
    if not isinstance(picture, Scene) or len(picture.unique()) < 2:
        return None
    a, b = rng.sample(picture.unique(), 2)
    relation = rng.choice(relations(a, b))
    texts = (
        f"Is the {a.kind} {RELATION_TEXT[r]} the {b.kind}?" for r in (relation, OPPOSITE[relation])
    )
    return _yes_no("mme", "position", *texts)


def mme_color(picture: Picture, rng: random.Random) -> Pair | None:
    """Whether an object has a colour."""
    if not isinstance(picture, Scene) or not picture.unique():
        return None
    thing = rng.choice(picture.unique())
    elsewhere = [t.color for t in picture.things if t.color != thing.color]
    wrong = (
        rng.choice(elsewhere)
        if elsewhere and rng.random() < 0.5
        else other(rng, list(COLORS), thing.color)
    )
    return _yes_no(
        "mme",
        "color",
        *(f"Is there a {color} {thing.kind} in this image?" for color in (thing.color, wrong)),
    )


def mme_ocr(picture: Picture, rng: random.Random) -> Pair | None:
    """Whether a word on a sign is spelled like this."""
    if not isinstance(picture, Sign):
        return None
    word, second = rng.sample(picture.words, 2)
    wrong = second.text
    if wrong == word.text or rng.random() < 0.5:
        place = rng.randrange(len(word.text))
        wrong = word.text[:place] + other(rng, LETTERS, word.text[place]) + word.text[place + 1 :]
    return _yes_no(
        "mme", "OCR", *(f"Is the {word.color} word {text}?" for text in (word.text, wrong))
    )


def mme_commonsense(picture: Picture, rng: random.Random) -> Pair | None:
    """Whether something in the scene has a property."""
    if not isinstance(picture, Scene):
        return None
    kinds = {t.kind for t in picture.things}
    held = [name for name, members in PROPERTIES.items() if kinds & set(members)]
    missing = [name for name in PROPERTIES if name not in held]
    if not held or not missing:
        return None
    texts = (
        f"Is there something {name} in this image?"
        for name in (rng.choice(held), rng.choice(missing))
    )
    return _yes_no("mme", "commonsense_reasoning", *texts)


def mme_calculation(picture: Picture, rng: random.Random) -> Pair | None:
    """Whether the result of a sum on a board is right."""
    value = board_sum(picture)
    if value is None:
        return None
    wrong = rng.choice([n for n in range(value - 3, value + 4) if n != value and n >= 0])
    return _yes_no("mme", "numerical_calculation", *(f"Is the answer {n}?" for n in (value, wrong)))


def mme_translation(picture: Picture, rng: random.Random) -> Pair | None:
    """Whether a foreign word has a meaning."""
    meaning = board_meaning(picture)
    if meaning is None:
        return None
    wrong = other(rng, list(DICTIONARY.values()), meaning)
    return _yes_no(
        "mme", "text_translation", *(f"Does the word mean {text}?" for text in (meaning, wrong))
    )


def mme_code(picture: Picture, rng: random.Random) -> Pair | None:
    """Whether a program prints a value."""
    program = board_program(picture)
    if program is None:
        return None
    values, printed = program
    others = [v for v in values.values() if v != values[printed]]
    wrong = (
        rng.choice(others)
        if others and rng.random() < 0.5
        else other(rng, "0123456789", values[printed])
    )
    return _yes_no(
        "mme", "code_reasoning", *(f"Is the output {v}?" for v in (values[printed], wrong))
    )


MME_SKILLS: dict[str, PairSkill] = {
    "existence": mme_existence,
    "count": mme_count,
    "position": mme_position,
    "color": mme_color,
    "OCR": mme_ocr,
    "commonsense_reasoning": mme_commonsense,
    "numerical_calculation": mme_calculation,
    "text_translation": mme_translation,
    "code_reasoning": mme_code,
}
_PICTURES = {
    "OCR": "sign",
    "numerical_calculation": "board:sum",
    "text_translation": "board:word",
    "code_reasoning": "board:program",
}


def mme_picture(category: str) -> str:
    """The kind of picture that a category asks about."""
    return _PICTURES.get(category, "scene")
