"""What a picture shows: a grid of cells, one glyph a cell.

Cells have 16 pixels a side, as the patches of the vision tower. A picture has 4 x 4 of them unless
its `size` says otherwise. There are six kinds of picture, one dataclass each; `glyphs()` of each
says what `drawing.draw` turns into pixels. The embedded model knows the first five.
"""

from __future__ import annotations

from dataclasses import dataclass

GRID = 4
CELL_PIXELS = 16
IMAGE_PIXELS = GRID * CELL_PIXELS
Size = tuple[int, int]  # rows and columns
SMALL: Size = (GRID, GRID)

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (225, 45, 45),
    "green": (45, 175, 65),
    "blue": (60, 95, 240),
    "yellow": (240, 220, 50),
    "purple": (160, 60, 200),
    "orange": (245, 140, 30),
    "cyan": (50, 210, 220),
    "white": (245, 245, 245),
}

CATEGORIES: dict[str, tuple[str, ...]] = {
    "shape": ("circle", "square", "triangle", "diamond"),
    "sky": ("sun", "moon", "star", "cloud"),
    "nature": ("tree", "fish", "flower", "mushroom"),
    "thing": ("house", "cup", "key", "flag"),
}
KINDS: tuple[str, ...] = tuple(kind for kinds in CATEGORIES.values() for kind in kinds)
# Real pictures are not uniform: some kinds are seen often (POPE's "popular" negatives need that).
KIND_WEIGHTS: tuple[float, ...] = tuple(1.0 / (1 + 0.15 * i) for i in range(len(KINDS)))

LETTERS = "abcdefghijklmnopqrstuvwxyz"
CODE_LETTERS = "acdefghjklmnprtuvwxy"  # without letters that a digit looks like at 16 pixels
DIGITS = "0123456789"
BAR = "bar"  # a cell of a chart; its fill is given in eighths of the picture's height


@dataclass(frozen=True)
class Glyph:
    """What one cell shows.

    Attributes:
        row: From the top, from 0 on.
        column: From the left, from 0 on.
        symbol: A kind, a letter, a digit, one of `+-=>?`, or `bar`.
        color: A name in `COLORS`.
        fill: Share of the cell that a bar covers.
    """

    row: int
    column: int
    symbol: str
    color: str
    fill: float = 1.0


@dataclass(frozen=True)
class Thing:
    """An object of a scene: its kind, its colour and its cell."""

    kind: str
    color: str
    row: int
    column: int


@dataclass(frozen=True)
class Scene:
    """Objects in distinct cells."""

    things: tuple[Thing, ...]
    size: Size = SMALL

    def glyphs(self) -> list[Glyph]:
        """One for each object."""
        return [Glyph(t.row, t.column, t.kind, t.color) for t in self.things]

    def count(self, *, kind: str | None = None, color: str | None = None) -> int:
        """Number of objects of this kind and this colour; None stands for any."""
        return sum(
            (kind is None or t.kind == kind) and (color is None or t.color == color)
            for t in self.things
        )

    def unique(self) -> list[Thing]:
        """Objects whose kind occurs once, so that "the star" names one thing."""
        return [t for t in self.things if self.count(kind=t.kind) == 1]


@dataclass(frozen=True)
class Word:
    """A word on a sign; `row` and `column` are the cell of its first letter."""

    text: str
    color: str
    row: int
    column: int


@dataclass(frozen=True)
class Sign:
    """Two words of different colours in different rows, with objects in the rows between."""

    words: tuple[Word, Word]
    things: tuple[Thing, ...]
    size: Size = SMALL

    def glyphs(self) -> list[Glyph]:
        """One for each letter, then one for each object."""
        letters = [
            Glyph(w.row, w.column + i, c, w.color) for w in self.words for i, c in enumerate(w.text)
        ]
        return letters + Scene(self.things).glyphs()


@dataclass(frozen=True)
class Form:
    """Rows, each an icon as the field's name, then a code of three characters or more."""

    fields: tuple[tuple[str, str], ...]
    icon_colors: tuple[str, ...]
    ink: str
    size: Size = SMALL

    def glyphs(self) -> list[Glyph]:
        """Row by row: the icon, then the characters of its code."""
        cells = []
        for row, ((icon, code), color) in enumerate(
            zip(self.fields, self.icon_colors, strict=True)
        ):
            cells.append(Glyph(row, 0, icon, color))
            cells += [Glyph(row, 1 + i, c, self.ink) for i, c in enumerate(code)]
        return cells


@dataclass(frozen=True)
class Chart:
    """Bars of different colours, one a column; heights are from 1 on, two units a cell."""

    colors: tuple[str, ...]
    heights: tuple[int, ...]
    size: Size = SMALL

    def glyphs(self) -> list[Glyph]:
        """Column by column: the cells that the bar covers, full or half."""
        cells = []
        for column, (color, height) in enumerate(zip(self.colors, self.heights, strict=True)):
            for row in range(self.size[0]):
                units = height - 2 * (self.size[0] - 1 - row)
                if units > 0:
                    cells.append(Glyph(row, column, BAR, color, fill=min(units, 2) / 2))
        return cells


@dataclass(frozen=True)
class Board:
    """Lines of letters, digits and signs on a board: a sum, a sequence, a small program or a
    foreign word.
    """

    lines: tuple[str, ...]
    inks: tuple[str, ...]
    size: Size = SMALL

    def glyphs(self) -> list[Glyph]:
        """One for each character but the spaces."""
        return [
            Glyph(row, column, symbol, self.inks[row])
            for row, line in enumerate(self.lines)
            for column, symbol in enumerate(line)
            if symbol != " "
        ]


@dataclass(frozen=True)
class Emblem:
    """Symbols next to each other, which stand for a person of `world.facts`.

    Attributes:
        symbols: Kind and colour of each, from the left.
        row: Of all of them.
        column: Of the first.
    """

    symbols: tuple[tuple[str, str], ...]
    row: int
    column: int
    size: Size = SMALL

    def glyphs(self) -> list[Glyph]:
        """One for each symbol."""
        return [
            Glyph(self.row, self.column + place, kind, color)
            for place, (kind, color) in enumerate(self.symbols)
        ]


Picture = Scene | Sign | Form | Chart | Board | Emblem
