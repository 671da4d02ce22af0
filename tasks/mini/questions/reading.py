"""Questions about signs, forms and charts: TextVQA, DocVQA and ChartQA."""

from __future__ import annotations

import random

from tasks.mini.questions.question import Question
from tasks.mini.world.pictures import Chart, Form, Picture, Sign


def textvqa(picture: Picture, rng: random.Random) -> Question | None:
    """A word on a sign, named by its colour or place."""
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
    """The code of a field of a form."""
    if not isinstance(picture, Form):
        return None
    icon, code = rng.choice(picture.fields)
    return Question("docvqa", "form", f"What is the code of the {icon}?", code)


def chartqa_value(picture: Picture, rng: random.Random) -> Question | None:
    """The value of a bar."""
    if not isinstance(picture, Chart):
        return None
    place = rng.randrange(len(picture.colors))
    return Question(
        "chartqa",
        "augmented_test",
        f"What is the value of the {picture.colors[place]} bar?",
        str(picture.heights[place]),
    )


def chartqa_extreme(picture: Picture, rng: random.Random) -> Question | None:
    """Which bar is the highest or lowest."""
    if not isinstance(picture, Chart):
        return None
    name, pick = rng.choice((("highest", max), ("lowest", min)))
    color = picture.colors[picture.heights.index(pick(picture.heights))]
    return Question("chartqa", "human_test", f"Which bar is the {name}?", color)


def chartqa_extreme_value(picture: Picture, rng: random.Random) -> Question | None:
    """The value of the highest or lowest bar."""
    if not isinstance(picture, Chart):
        return None
    name, pick = rng.choice((("highest", max), ("lowest", min)))
    return Question(
        "chartqa", "human_test", f"What is the value of the {name} bar?", str(pick(picture.heights))
    )


def chartqa_count(picture: Picture, rng: random.Random) -> Question | None:
    """How many bars are higher than a bound."""
    if not isinstance(picture, Chart):
        return None
    bound = rng.randint(2, 2 * picture.size[0] - 2)
    return Question(
        "chartqa",
        "human_test",
        f"How many bars are higher than {bound}?",
        str(sum(h > bound for h in picture.heights)),
    )
