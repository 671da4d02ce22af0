"""Questions that no suite asks: captions, and steps on the way to harder skills.

Training and calibration ask them.
"""

from __future__ import annotations

import random

from tasks.mini.questions.question import Question
from tasks.mini.world.boards import board_meaning, board_program
from tasks.mini.world.pictures import Board, Chart, Form, Picture, Scene, Sign


def caption(picture: Picture, rng: random.Random) -> Question | None:
    """Every cell in reading order: dense supervision for seeing.

    Forms and charts are described field by field and bar by bar, in any order.
    """
    if isinstance(picture, Form):
        fields = rng.sample(picture.fields, len(picture.fields))
        return Question(
            "caption",
            "form",
            "Describe the form.",
            ", ".join(f"{icon} {code}" for icon, code in fields),
        )
    if isinstance(picture, Chart):
        bars = rng.sample(
            list(zip(picture.colors, picture.heights, strict=True)), len(picture.colors)
        )
        return Question(
            "caption",
            "chart",
            "Describe the bars.",
            ", ".join(f"{color} {height}" for color, height in bars),
        )
    if isinstance(picture, Sign):
        return Question(
            "caption",
            "sign",
            "Describe the words.",
            ", ".join(f"{w.color} {w.text}" for w in picture.words),
        )
    if isinstance(picture, Board):
        return Question(
            "caption",
            "board",
            "Describe the picture.",
            " ".join(c for line in picture.lines for c in line.strip()),
        )
    cells = {(g.row, g.column): f"{g.color} {g.symbol}" for g in picture.glyphs()}
    rows, columns = (range(count) for count in picture.size)
    lines = [", ".join(cells.get((r, c), "empty") for c in columns) for r in rows]
    return Question("caption", "scene", "Describe the image.", "; ".join(lines))


def _grid(picture: Picture, what: str) -> Question:
    """One token a cell in reading order: the cell to look at is always equally far away."""
    cells = {(g.row, g.column): getattr(g, what) for g in picture.glyphs()}
    rows, columns = (range(count) for count in picture.size)
    tokens = [cells.get((r, c), "empty") for r in rows for c in columns]
    return Question(
        "caption",
        "grid",
        f"Describe the {'objects' if what == 'symbol' else 'colors'}.",
        " ".join(tokens),
    )


def grid_symbols(picture: Picture, rng: random.Random) -> Question | None:
    """The symbol of every cell."""
    return _grid(picture, "symbol")


def grid_colors(picture: Picture, rng: random.Random) -> Question | None:
    """The colour of every cell."""
    return _grid(picture, "color")


def open_translation(picture: Picture, rng: random.Random) -> Question | None:
    """The meaning of a foreign word."""
    meaning = board_meaning(picture)
    return (
        None
        if meaning is None
        else Question("auxiliary", "translation", "What does the word mean?", meaning)
    )


def open_output(picture: Picture, rng: random.Random) -> Question | None:
    """What a program prints."""
    program = board_program(picture)
    return (
        None
        if program is None
        else Question("auxiliary", "code", "What is the output?", program[0][program[1]])
    )


def open_variable(picture: Picture, rng: random.Random) -> Question | None:
    """The value of a variable: the second of the two steps to a program's output."""
    program = board_program(picture)
    if program is None:
        return None
    name = rng.choice(list(program[0]))
    return Question("auxiliary", "code", f"What is the value of {name}?", program[0][name])


def open_printed(picture: Picture, rng: random.Random) -> Question | None:
    """Which variable a program prints: the first step to its output."""
    program = board_program(picture)
    return (
        None
        if program is None
        else Question("auxiliary", "code", "What is on the bottom line?", program[1])
    )


def open_place(picture: Picture, rng: random.Random) -> Question | None:
    """The row or column of an object: a step to relations."""
    if not isinstance(picture, Scene) or not picture.unique():
        return None
    thing = rng.choice(picture.unique())
    side, place = rng.choice((("left", thing.column), ("top", thing.row)))
    return Question(
        "auxiliary", "place", f"How many from the {side} is the {thing.kind}?", str(place + 1)
    )


def other_word(picture: Picture, rng: random.Random) -> Question | None:
    """MME's question about a word, with a wrong word that differs in more than a letter."""
    if not isinstance(picture, Sign):
        return None
    word, second = rng.sample(picture.words, 2)
    text, answer = rng.choice(((word.text, "Yes"), (second.text, "No")))
    return (
        None
        if word.text == second.text
        else Question("auxiliary", "OCR", f"Is the {word.color} word {text}?", answer)
    )
