"""Boards: what can be written on one, and how it is read back."""

from __future__ import annotations

import random

from tasks.mini.language import DICTIONARY
from tasks.mini.scenes import GRID, Board, Picture, random_inks


def random_board(rng: random.Random, *, content: str | None = None) -> Board:
    """A board with a sum, a sequence, four numbers, a program or a foreign word."""
    content = content or rng.choice(("sum", "sequence", "numbers", "program", "word"))
    if content == "program":
        names = rng.sample("abcdefghjk", rng.randint(2, 3))
        lines = [
            f"{name}={value}"
            for name, value in zip(names, rng.sample("0123456789", len(names)), strict=True)
        ]
        lines.append(f">{rng.choice(names)}")
        return Board(tuple(lines), random_inks(rng, len(lines)))
    if content == "numbers":
        return Board(tuple(rng.sample("0123456789", GRID)), random_inks(rng, GRID))
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
    return Board(tuple(lines), random_inks(rng, GRID))


def board_sum(picture: Picture) -> int | None:
    """The value of the one-line sum on a board, None where the board shows something else."""
    if not isinstance(picture, Board):
        return None
    text = "".join(picture.lines).strip()
    if len(text) == 3 and text[1] in "+-" and text[0].isdigit() and text[2].isdigit():
        return int(text[0]) + int(text[2]) if text[1] == "+" else int(text[0]) - int(text[2])
    return None


def board_meaning(picture: Picture) -> str | None:
    return DICTIONARY.get("".join(picture.lines).strip()) if isinstance(picture, Board) else None


def board_program(picture: Picture) -> tuple[dict[str, str], str] | None:
    """(assignments, printed variable) of a program such as `a=3`, `b=5`, `>b`; None where the board
    shows something else.
    """
    if not isinstance(picture, Board) or not picture.lines[-1].startswith(">"):
        return None
    return {line[0]: line[2] for line in picture.lines[:-1]}, picture.lines[-1][1]
