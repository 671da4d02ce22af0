"""What a question is, and the same question with options."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tasks.mini.world.pictures import COLORS, KINDS, Picture

OPTION_LETTERS = "ABCD"


@dataclass(frozen=True)
class Question:
    """A question with its answer.

    Attributes:
        suite: Mme, mmbench, textvqa, ... or a kind that only training asks.
        category: As the data set names it.
        text: As the data set has it.
        answer: The right one; with options, one of them.
        options: Of a multiple choice, in the order of their letters.
    """

    suite: str
    category: str
    text: str
    answer: str
    options: tuple[str, ...] = ()

    @property
    def prompt(self) -> str:
        """What the model reads: what the suite's `doc_to_text` builds, but for white space."""
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
        """What the model should answer: a letter where there are options."""
        return OPTION_LETTERS[self.options.index(self.answer)] if self.options else self.answer


# Asks about a picture; None where the picture gives it nothing to ask.
Skill = Callable[[Picture, random.Random], Question | None]


def other(rng: random.Random, values: Sequence[str], *excluded: str) -> str:
    """One of the values at random, but none of the excluded."""
    return rng.choice([v for v in values if v not in excluded])


def as_choice(
    question: Question, picture: Picture, rng: random.Random, *, suite: str, count: int = 4
) -> Question:
    """The same question with lettered options.

    Args:
        question: Without options.
        picture: From which wrong options are taken, where it shows any.
        rng: Source of all randomness.
        suite: That asks it.
        count: Number of options, 2 to 4.
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
