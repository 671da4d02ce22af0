"""What a board says: the value of a sum, the meaning of a word, the output of a program."""

from __future__ import annotations

import re

from tasks.mini.world.language import DICTIONARY
from tasks.mini.world.pictures import Board, Picture


def board_sum(picture: Picture) -> int | None:
    """The value of a one-line sum; None where the picture shows none."""
    if not isinstance(picture, Board):
        return None
    parts = re.fullmatch(r"(\d+)([+-])(\d+)", "".join(picture.lines).strip())
    if parts is None:
        return None
    first, second = int(parts[1]), int(parts[3])
    return first + second if parts[2] == "+" else first - second


def board_meaning(picture: Picture) -> str | None:
    """The English word for a foreign one; None where the picture shows none."""
    return DICTIONARY.get("".join(picture.lines).strip()) if isinstance(picture, Board) else None


def board_program(picture: Picture) -> tuple[dict[str, str], str] | None:
    """A program such as `a=3`, `b=5`, `>b`.

    Returns:
        Value by variable, and the variable that is printed; None where the picture shows none.
    """
    if not isinstance(picture, Board) or not picture.lines[-1].startswith(">"):
        return None
    return {line[0]: line[2] for line in picture.lines[:-1]}, picture.lines[-1][1]
