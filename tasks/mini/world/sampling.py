"""Random pictures of each kind; all randomness comes from the `random.Random` that is passed in."""

from __future__ import annotations

import random
from collections.abc import Callable

from tasks.mini.world.language import DICTIONARY
from tasks.mini.world.pictures import (
    CATEGORIES,
    CODE_LETTERS,
    COLORS,
    DIGITS,
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
    Word,
)


def random_picture(kind: str, rng: random.Random, word: Callable[[], str]) -> Picture:
    """A picture of one kind.

    Args:
        kind: Scene, sign, form, chart, board, or board:CONTENT (see `random_board`).
        rng: Source of all randomness but the words'.
        word: Gives the words on signs.
    """
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


def random_scene(rng: random.Random) -> Scene:
    """3 to 7 objects.

    Half of the kinds come from one category, so that kinds occur together as in photographs.
    """
    count = rng.randint(3, 7)
    theme = rng.choice(list(CATEGORIES))
    cells = rng.sample([(r, c) for r in range(GRID) for c in range(GRID)], count)
    things: list[Thing] = []
    for row, column in cells:
        if things and rng.random() < 0.25:
            kind = rng.choice(things).kind
        elif rng.random() < 0.5:
            kind = rng.choice(CATEGORIES[theme])
        else:
            kind = rng.choices(KINDS, KIND_WEIGHTS)[0]
        things.append(Thing(kind, rng.choice(list(COLORS)), row, column))
    return Scene(tuple(things))


def random_sign(rng: random.Random, word: Callable[[], str]) -> Sign:
    """Two words and up to three objects.

    Args:
        rng: Source of all randomness but the words'.
        word: Gives a word of 2 to 4 letters; training and evaluation pass different ones.
    """
    rows = sorted(rng.sample(range(GRID), 2))
    colors = rng.sample(list(COLORS), 2)
    words = []
    for row, color in zip(rows, colors, strict=True):
        text = word()
        words.append(Word(text, color, row, rng.randint(0, GRID - len(text))))
    free = [(r, c) for r in range(GRID) if r not in rows for c in range(GRID)]
    things = tuple(
        Thing(rng.choice(KINDS), rng.choice(list(COLORS)), r, c)
        for r, c in rng.sample(free, rng.randint(0, 3))
    )
    return Sign((words[0], words[1]), things)


def random_form(rng: random.Random) -> Form:
    """Four distinct icons, each with a code."""
    icons = rng.sample(KINDS, GRID)
    codes = [
        "".join(rng.choice(DIGITS if rng.random() < 0.6 else CODE_LETTERS) for _ in range(3))
        for _ in icons
    ]
    colors = tuple(rng.choice(list(COLORS)) for _ in icons)
    return Form(tuple(zip(icons, codes, strict=True)), colors, rng.choice(list(COLORS)))


def random_chart(rng: random.Random) -> Chart:
    """Four bars, no two of one colour or height."""
    return Chart(
        tuple(rng.sample(list(COLORS), GRID)), tuple(rng.sample(range(1, 2 * GRID + 1), GRID))
    )


def _random_inks(rng: random.Random, lines: int) -> tuple[str, ...]:
    return tuple(rng.choice(list(COLORS)) for _ in range(lines))


def random_board(rng: random.Random, *, content: str | None = None) -> Board:
    """A board with something to read.

    Args:
        rng: Source of all randomness.
        content: Sum, sequence, numbers, program or word; None draws one of them.
    """
    content = content or rng.choice(("sum", "sequence", "numbers", "program", "word"))
    if content == "program":
        names = rng.sample("abcdefghjk", rng.randint(2, 3))
        lines = [
            f"{name}={value}"
            for name, value in zip(names, rng.sample("0123456789", len(names)), strict=True)
        ]
        lines.append(f">{rng.choice(names)}")
        return Board(tuple(lines), _random_inks(rng, len(lines)))
    if content == "numbers":
        return Board(tuple(rng.sample("0123456789", GRID)), _random_inks(rng, GRID))
    if content == "sum":
        a, b = rng.randrange(10), rng.randrange(10)
        text = f"{a}+{b}" if rng.random() < 0.6 else f"{max(a, b)}-{min(a, b)}"
    elif content == "sequence":
        step = rng.choice((-3, -2, -1, 1, 2, 3))
        starts = [s for s in range(10) if 0 <= s + 2 * step <= 9 and s + 3 * step >= 0]
        start = rng.choice(starts)
        text = "".join(str(start + i * step) for i in range(3)) + "?"
    else:
        text = rng.choice(list(DICTIONARY))
    lines = [""] * GRID
    lines[rng.randrange(GRID)] = " " * rng.randint(0, GRID - len(text)) + text
    return Board(tuple(lines), _random_inks(rng, GRID))
