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
    SMALL,
    Board,
    Chart,
    Emblem,
    Form,
    Picture,
    Scene,
    Sign,
    Size,
    Thing,
    Word,
)


def random_picture(
    kind: str, rng: random.Random, word: Callable[[], str], size: Size = SMALL
) -> Picture:
    """A picture of one kind.

    Args:
        kind: Scene, sign, form, chart, board, or board:CONTENT (see `random_board`).
        rng: Source of all randomness but the words'.
        word: Gives the words on signs, no longer than a row.
        size: Rows and columns, at least 4. A form has no more rows than there are kinds, a chart no
            more columns than there are colours.
    """
    name, _, content = kind.partition(":")
    if name == "scene":
        return random_scene(rng, size)
    if name == "sign":
        return random_sign(rng, word, size)
    if name == "form":
        return random_form(rng, (min(size[0], len(KINDS)), size[1]))
    if name == "chart":
        return random_chart(rng, (size[0], min(size[1], len(COLORS))))
    return random_board(rng, content=content or None, size=size)


def random_scene(rng: random.Random, size: Size = SMALL) -> Scene:
    """3 to 7 objects in 16 cells, and as many of the cells in larger pictures.

    Half of the kinds come from one category, so that kinds occur together as in photographs.
    """
    rows, columns = size
    count = rng.randint(3, 7) * rows * columns // GRID**2
    theme = rng.choice(list(CATEGORIES))
    cells = rng.sample([(r, c) for r in range(rows) for c in range(columns)], count)
    things: list[Thing] = []
    for row, column in cells:
        if things and rng.random() < 0.25:
            kind = rng.choice(things).kind
        elif rng.random() < 0.5:
            kind = rng.choice(CATEGORIES[theme])
        else:
            kind = rng.choices(KINDS, KIND_WEIGHTS)[0]
        things.append(Thing(kind, rng.choice(list(COLORS)), row, column))
    return Scene(tuple(things), size)


def random_sign(rng: random.Random, word: Callable[[], str], size: Size = SMALL) -> Sign:
    """Two words and up to three objects.

    Args:
        rng: Source of all randomness but the words'.
        word: Gives a word that fits into a row; training and evaluation pass different ones.
        size: Rows and columns.
    """
    rows = sorted(rng.sample(range(size[0]), 2))
    colors = rng.sample(list(COLORS), 2)
    words = []
    for row, color in zip(rows, colors, strict=True):
        text = word()
        words.append(Word(text, color, row, rng.randint(0, size[1] - len(text))))
    free = [(r, c) for r in range(size[0]) if r not in rows for c in range(size[1])]
    things = tuple(
        Thing(rng.choice(KINDS), rng.choice(list(COLORS)), r, c)
        for r, c in rng.sample(free, rng.randint(0, 3))
    )
    return Sign((words[0], words[1]), things, size)


def random_form(rng: random.Random, size: Size = SMALL) -> Form:
    """Distinct icons, one a row, each with a code of as many characters as fit."""
    rows, columns = size
    icons = rng.sample(KINDS, rows)
    codes = [
        "".join(
            rng.choice(DIGITS if rng.random() < 0.6 else CODE_LETTERS) for _ in range(columns - 1)
        )
        for _ in icons
    ]
    colors = tuple(rng.choice(list(COLORS)) for _ in icons)
    ink = rng.choice(list(COLORS))
    return Form(tuple(zip(icons, codes, strict=True)), colors, ink, size)


def random_chart(rng: random.Random, size: Size = SMALL) -> Chart:
    """A bar a column, no two of one colour or height."""
    rows, columns = size
    colors = tuple(rng.sample(list(COLORS), columns))
    return Chart(colors, tuple(rng.sample(range(1, 2 * rows + 1), columns)), size)


def random_emblem(
    symbols: tuple[tuple[str, str], ...], rng: random.Random, size: Size = SMALL
) -> Emblem:
    """An emblem with these symbols, somewhere in the picture."""
    rows, columns = size
    return Emblem(symbols, rng.randrange(rows), rng.randint(0, columns - len(symbols)), size)


def _random_inks(rng: random.Random, lines: int) -> tuple[str, ...]:
    return tuple(rng.choice(list(COLORS)) for _ in range(lines))


def random_board(rng: random.Random, *, content: str | None = None, size: Size = SMALL) -> Board:
    """A board with something to read.

    Args:
        rng: Source of all randomness.
        content: Sum, sequence, numbers, program or word; None draws one of them.
        size: Rows and columns: more rows have longer programs and more numbers, more columns have
            sums of larger numbers.
    """
    rows, columns = size
    most = min(rows, len(DIGITS))
    content = content or rng.choice(("sum", "sequence", "numbers", "program", "word"))
    if content == "program":
        names = rng.sample("abcdefghjk", rng.randint(2, most - 1))
        lines = [
            f"{name}={value}"
            for name, value in zip(names, rng.sample("0123456789", len(names)), strict=True)
        ]
        lines.append(f">{rng.choice(names)}")
        return Board(tuple(lines), _random_inks(rng, len(lines)), size)
    if content == "numbers":
        return Board(tuple(rng.sample(DIGITS, most)), _random_inks(rng, most), size)
    if content == "sum":
        end = 10 ** ((columns - 1) // 2)  # a sign stands between two numbers
        a, b = rng.randrange(end), rng.randrange(end)
        text = f"{a}+{b}" if rng.random() < 0.6 else f"{max(a, b)}-{min(a, b)}"
    elif content == "sequence":
        step = rng.choice((-3, -2, -1, 1, 2, 3))
        starts = [s for s in range(10) if 0 <= s + 2 * step <= 9 and s + 3 * step >= 0]
        start = rng.choice(starts)
        text = "".join(str(start + i * step) for i in range(3)) + "?"
    else:
        text = rng.choice(list(DICTIONARY))
    lines = [""] * rows
    lines[rng.randrange(rows)] = " " * rng.randint(0, columns - len(text)) + text
    return Board(tuple(lines), _random_inks(rng, rows), size)
