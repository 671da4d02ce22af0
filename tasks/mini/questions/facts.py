"""Questions about people of `world.facts`, with and without a picture of their emblem."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from dataclasses import dataclass

from tasks.mini.questions.question import Question
from tasks.mini.world.facts import AGES, SYLLABLES, Person, World
from tasks.mini.world.language import PLURAL
from tasks.mini.world.pictures import COLORS, KINDS

SHOWN = "the person of this emblem"  # stands for the name where the emblem is shown


@dataclass(frozen=True)
class Attribute:
    """Something that is true of a person.

    Attributes:
        question: With {} for the person.
        statement: With {} for the person, then for the value.
        check: A question for yes or no, with both.
        value: Of a person, in words.
        draw: A value of anybody.
    """

    question: str
    statement: str
    check: str
    value: Callable[[World, Person], str]
    draw: Callable[[World, random.Random], str]


ATTRIBUTES: dict[str, Attribute] = {
    "home": Attribute(
        "Where does {} live?",
        "{} lives in {}.",
        "Does {} live in {}?",
        lambda _, person: person.home,
        lambda _, rng: rng.choice(SYLLABLES) + rng.choice(SYLLABLES),
    ),
    "craft": Attribute(
        "What does {} make?",
        "{} makes {}.",
        "Does {} make {}?",
        lambda _, person: PLURAL[person.craft],
        lambda _, rng: PLURAL[rng.choice(KINDS)],
    ),
    "pet": Attribute(
        "What does {} keep?",
        "{} keeps a {}.",
        "Does {} keep a {}?",
        lambda _, person: person.pet,
        lambda _, rng: rng.choice(KINDS),
    ),
    "color": Attribute(
        "What color does {} like?",
        "{} likes {}.",
        "Does {} like {}?",
        lambda _, person: person.color,
        lambda _, rng: rng.choice(list(COLORS)),
    ),
    "age": Attribute(
        "How old is {}?",
        "{} is {} years old.",
        "Is {} {} years old?",
        lambda _, person: str(person.age),
        lambda _, rng: str(rng.randrange(AGES)),
    ),
    "friend": Attribute(
        "Who is the friend of {}?",
        "The friend of {} is {}.",
        "Is the friend of {} {}?",
        lambda world, person: world.person(person.friend).name,
        lambda world, rng: world.person(rng.randrange(world.count)).name,
    ),
}


def fact(
    world: World, person: Person, attribute: str, suite: str, *, shown: bool, steps: int = 1
) -> Question:
    """What is true of a person.

    Args:
        world: Of the person.
        person: Who is asked about.
        attribute: A name in `ATTRIBUTES`.
        suite: That asks it.
        shown: Whether the emblem stands for the name.
        steps: 2 asks about the person's friend.
    """
    whom, about = SHOWN if shown else person.name, person
    for _ in range(steps - 1):
        whom, about = f"the friend of {whom}", world.person(about.friend)
    asked = ATTRIBUTES[attribute]
    return Question(suite, attribute, asked.question.format(whom), asked.value(world, about))


def fact_pair(
    world: World, person: Person, attribute: str, rng: random.Random, *, shown: bool
) -> tuple[Question, Question]:
    """MME's pair: the true value, to which the answer is yes, and another one."""
    asked, whom = ATTRIBUTES[attribute], SHOWN if shown else person.name
    right = asked.value(world, person)
    texts = (asked.check.format(whom, value) for value in (right, _wrong(world, right, asked, rng)))
    yes, no = (Question("mme", attribute, text, "") for text in texts)
    return dataclasses.replace(yes, answer="Yes"), dataclasses.replace(no, answer="No")


def fact_choice(
    world: World, question: Question, rng: random.Random, *, suite: str, count: int = 4
) -> Question:
    """A question of `fact` with lettered options, of which the others are true of others."""
    options = [question.answer]
    while len(options) < count:
        wrong = ATTRIBUTES[question.category].draw(world, rng)
        if wrong not in options:
            options.append(wrong)
    rng.shuffle(options)
    return dataclasses.replace(question, suite=suite, options=tuple(options))


def _wrong(world: World, right: str, asked: Attribute, rng: random.Random) -> str:
    """A value of the attribute that is not the right one."""
    while True:
        drawn = asked.draw(world, rng)
        if drawn != right:
            return drawn


def biography(world: World, person: Person, rng: random.Random) -> str:
    """All that is true of a person, in any order: what a model reads to know it."""
    names = rng.sample(list(ATTRIBUTES), len(ATTRIBUTES))
    return " ".join(
        ATTRIBUTES[name].statement.format(person.name, ATTRIBUTES[name].value(world, person))
        for name in names
    )
