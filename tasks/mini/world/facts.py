"""Facts to be known by heart: made-up people, what is true of each, and the emblem of each.

Nothing about a person follows from anything else: every attribute is drawn by itself. So the facts
cannot be compressed, and what a model knows of them can be counted in bits.
"""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from tasks.mini.world.pictures import COLORS, KINDS

SYLLABLES: tuple[str, ...] = tuple(
    consonant + vowel for consonant in "bdfghjklmnprstvz" for vowel in "aeiu"
)
AGES = 100
Symbol = tuple[str, str]  # a kind and a colour
EMBLEM = 3  # symbols
Value = TypeVar("Value")


@dataclass(frozen=True)
class Person:
    """A person.

    Attributes:
        number: By which the others are found.
        name: Three syllables.
        home: Two syllables.
        craft: A kind of thing that the person makes.
        pet: A kind of thing that the person keeps.
        color: That the person likes.
        age: From 0 on, in years.
        friend: Number of another person.
        emblem: What stands for the person in pictures; no two have the same.
    """

    number: int
    name: str
    home: str
    craft: str
    pet: str
    color: str
    age: int
    friend: int
    emblem: tuple[Symbol, ...]


@dataclass(frozen=True)
class World:
    """So many people, all of one seed. More people leave those before them as they are, but for
    their friends.

    Attributes:
        count: Of the people, at least 2 and at most `MOST`.
        seed: Of all that is true of them.
    """

    count: int
    seed: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.count <= MOST:
            raise ValueError(f"count is {self.count}; a world has 2 to {MOST:,} people")

    def person(self, number: int) -> Person:
        """The person of a number from 0 on, always the same.

        Raises:
            IndexError: There are not so many.
        """
        if not 0 <= number < self.count:
            raise IndexError(f"there is no person {number}; the world has {self.count:,}")
        return _person(self, number)

    def bits(self) -> float:
        """How much there is to know: of attributes and friends, without names and emblems."""
        one = 2 * math.log2(len(SYLLABLES)) + 2 * math.log2(len(KINDS)) + math.log2(len(COLORS))
        return self.count * (one + math.log2(AGES) + math.log2(self.count - 1))


MOST = len(SYLLABLES) ** 3  # people of different names


@functools.lru_cache(maxsize=1 << 16)
def _person(world: World, number: int) -> Person:
    rng = random.Random(f"person-{world.seed}-{number}")
    friend = rng.randrange(world.count - 1)
    return Person(
        number=number,
        name="".join(_spread(world.seed, number, 3, SYLLABLES)),
        home=rng.choice(SYLLABLES) + rng.choice(SYLLABLES),
        craft=rng.choice(KINDS),
        pet=rng.choice(KINDS),
        color=rng.choice(list(COLORS)),
        age=rng.randrange(AGES),
        friend=friend + (friend >= number),
        emblem=tuple(_spread(world.seed + 1, number, EMBLEM, _SYMBOLS)),
    )


_SYMBOLS: tuple[Symbol, ...] = tuple((kind, color) for kind in KINDS for color in COLORS)


def _spread(seed: int, number: int, places: int, values: Sequence[Value]) -> list[Value]:
    """So many of the values for a number, other ones for every number there can be.

    Numbers that follow each other have unlike values: a multiplication by an odd number, modulo a
    power of two, is one-to-one.
    """
    base = len(values)
    total = base**places
    assert total & (total - 1) == 0, "there are 2, 4, 8, ... values"
    code = (number * (2 * random.Random(seed).randrange(total // 2) + 1) + seed) % total
    return [values[code // base**place % base] for place in range(places)]
