"""Pictures of the embedded world: 64 x 64 pixels, a 4 x 4 grid of cells, one glyph a cell.

Cells coincide with the 16-pixel patches of the vision tower. Five kinds of picture exist, one
dataclass each; every one knows its glyphs (`glyphs()`), and `draw` turns glyphs into pixels. All
randomness comes from the `random.Random` that is passed in.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

GRID = 4
CELL_PIXELS = 16
IMAGE_PIXELS = GRID * CELL_PIXELS

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
    """One cell's content. symbol: a kind, a letter, a digit, one of `+-=>?` or `bar`; fill: share
    of the cell a bar covers.
    """

    row: int
    column: int
    symbol: str
    color: str
    fill: float = 1.0


@dataclass(frozen=True)
class Thing:
    """An object of a scene: what it is, which colour, where."""

    kind: str
    color: str
    row: int
    column: int


@dataclass(frozen=True)
class Scene:
    """Objects in distinct cells."""

    things: tuple[Thing, ...]

    def glyphs(self) -> list[Glyph]:
        return [Glyph(t.row, t.column, t.kind, t.color) for t in self.things]

    def count(self, *, kind: str | None = None, color: str | None = None) -> int:
        return sum(
            (kind is None or t.kind == kind) and (color is None or t.color == color)
            for t in self.things
        )

    def unique(self) -> list[Thing]:
        """Objects whose kind occurs once, so that "the star" names one thing."""
        return [t for t in self.things if self.count(kind=t.kind) == 1]


@dataclass(frozen=True)
class Word:
    text: str
    color: str
    row: int
    column: int


@dataclass(frozen=True)
class Sign:
    """Two words of different colours in different rows, with objects in the rows between."""

    words: tuple[Word, Word]
    things: tuple[Thing, ...]

    def glyphs(self) -> list[Glyph]:
        letters = [
            Glyph(w.row, w.column + i, c, w.color) for w in self.words for i, c in enumerate(w.text)
        ]
        return letters + Scene(self.things).glyphs()


@dataclass(frozen=True)
class Form:
    """Four rows: an icon as the field's name, then a code of three characters."""

    fields: tuple[tuple[str, str], ...]
    icon_colors: tuple[str, ...]
    ink: str

    def glyphs(self) -> list[Glyph]:
        cells = []
        for row, ((icon, code), color) in enumerate(
            zip(self.fields, self.icon_colors, strict=True)
        ):
            cells.append(Glyph(row, 0, icon, color))
            cells += [Glyph(row, 1 + i, c, self.ink) for i, c in enumerate(code)]
        return cells


@dataclass(frozen=True)
class Chart:
    """Four bars of different colours; heights are 1 to 8, two units a cell."""

    colors: tuple[str, ...]
    heights: tuple[int, ...]

    def glyphs(self) -> list[Glyph]:
        cells = []
        for column, (color, height) in enumerate(zip(self.colors, self.heights, strict=True)):
            for row in range(GRID):
                units = height - 2 * (GRID - 1 - row)
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

    def glyphs(self) -> list[Glyph]:
        return [
            Glyph(row, column, symbol, self.inks[row])
            for row, line in enumerate(self.lines)
            for column, symbol in enumerate(line)
            if symbol != " "
        ]


Picture = Scene | Sign | Form | Chart | Board


def random_scene(rng: random.Random) -> Scene:
    """3 to 7 objects; half of the kinds come from one category, so that kinds co-occur as they do
    in photographs.
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
    """`word()` supplies the two words (2 to 4 letters); the held-out words of the evaluation come
    in this way.
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
    icons = rng.sample(KINDS, GRID)
    codes = [
        "".join(rng.choice(DIGITS if rng.random() < 0.6 else CODE_LETTERS) for _ in range(3))
        for _ in icons
    ]
    colors = tuple(rng.choice(list(COLORS)) for _ in icons)
    return Form(tuple(zip(icons, codes, strict=True)), colors, rng.choice(list(COLORS)))


def random_chart(rng: random.Random) -> Chart:
    return Chart(
        tuple(rng.sample(list(COLORS), GRID)), tuple(rng.sample(range(1, 2 * GRID + 1), GRID))
    )


def random_inks(rng: random.Random, lines: int) -> tuple[str, ...]:
    return tuple(rng.choice(list(COLORS)) for _ in range(lines))


def draw(picture: Picture, rng: random.Random) -> Image.Image:
    """The picture as 64 x 64 RGB pixels: glyphs shifted by up to one pixel, colours and background
    jittered, pixel noise added.
    """
    noise = np.random.default_rng(rng.getrandbits(64))
    canvas = np.full(
        (IMAGE_PIXELS, IMAGE_PIXELS, 3), noise.uniform(12, 48, size=3), dtype=np.float32
    )
    for glyph in picture.glyphs():
        if glyph.symbol == BAR:
            mask = np.zeros((CELL_PIXELS, CELL_PIXELS), dtype=np.float32)
            mask[round(CELL_PIXELS * (1 - glyph.fill)) :, 3:13] = 1
        else:
            down, right = noise.integers(0, 3, size=2)
            mask = np.pad(glyph_mask(glyph.symbol), 1)[
                down : down + CELL_PIXELS, right : right + CELL_PIXELS
            ]
        ink = np.asarray(COLORS[glyph.color], dtype=np.float32) + noise.uniform(
            -10, 10, size=3
        ).astype(np.float32)
        top, left = glyph.row * CELL_PIXELS, glyph.column * CELL_PIXELS
        cell = canvas[top : top + CELL_PIXELS, left : left + CELL_PIXELS]
        cell += mask[..., None] * (ink - cell)
    canvas += noise.normal(0, 4, size=canvas.shape).astype(np.float32)
    return Image.fromarray(canvas.clip(0, 255).astype(np.uint8))


@functools.cache
def glyph_mask(symbol: str) -> np.ndarray:
    """Coverage of a symbol in its cell, (16, 16) float32 in 0..1, drawn four times larger and
    averaged down.
    """
    scale = 4
    size = CELL_PIXELS * scale
    image = Image.new("L", (size, size), 0)
    pen = ImageDraw.Draw(image)
    if symbol in KINDS:
        _draw_kind(pen, symbol, float(scale))
    else:
        font = ImageFont.load_default(size=15 * scale)
        pen.text((size / 2, size / 2), symbol.upper(), fill=255, font=font, anchor="mm")
    return (
        np.asarray(image, dtype=np.float32)
        .reshape(CELL_PIXELS, scale, CELL_PIXELS, scale)
        .mean(axis=(1, 3))
        / 255
    )


def _star_points(points: int, outer: float, inner: float) -> list[tuple[float, float]]:
    angles = [np.pi * i / points - np.pi / 2 for i in range(2 * points)]
    return [
        (
            8 + (outer if i % 2 == 0 else inner) * float(np.cos(a)),
            8 + (outer if i % 2 == 0 else inner) * float(np.sin(a)),
        )
        for i, a in enumerate(angles)
    ]


# Each kind as ink and eraser strokes in cell coordinates (0..16): (shape, fill, coordinates).
_STROKES: dict[str, tuple[tuple[str, int, tuple[float, ...]], ...]] = {
    "circle": (("ellipse", 1, (2, 2, 14, 14)),),
    "square": (("rectangle", 1, (2.5, 2.5, 13.5, 13.5)),),
    "triangle": (("polygon", 1, (8, 1.5, 14.5, 14, 1.5, 14)),),
    "diamond": (("polygon", 1, (8, 1, 14, 8, 8, 15, 2, 8)),),
    "sun": (
        ("polygon", 1, tuple(v for p in _star_points(8, 7.5, 3.2) for v in p)),
        ("ellipse", 1, (4, 4, 12, 12)),
    ),
    "moon": (("ellipse", 1, (2, 2, 14, 14)), ("ellipse", 0, (6, 1, 16, 12))),
    "star": (("polygon", 1, tuple(v for p in _star_points(5, 7.5, 3) for v in p)),),
    "cloud": (
        ("ellipse", 1, (1, 7, 8, 13)),
        ("ellipse", 1, (4, 3, 12, 12)),
        ("ellipse", 1, (8, 6, 15, 13)),
    ),
    "tree": (
        ("polygon", 1, (8, 1, 13, 7, 3, 7)),
        ("polygon", 1, (8, 4, 14, 11, 2, 11)),
        ("rectangle", 1, (7, 11, 9, 15)),
    ),
    "fish": (
        ("ellipse", 1, (1, 4, 11, 12)),
        ("polygon", 1, (9, 8, 15, 3, 15, 13)),
        ("ellipse", 0, (3, 6, 5, 8)),
    ),
    "flower": (
        ("ellipse", 1, (5.5, 1, 10.5, 6)),
        ("ellipse", 1, (5.5, 10, 10.5, 15)),
        ("ellipse", 1, (1, 5.5, 6, 10.5)),
        ("ellipse", 1, (10, 5.5, 15, 10.5)),
        ("ellipse", 0, (6, 6, 10, 10)),
        ("ellipse", 1, (7, 7, 9, 9)),
    ),
    "mushroom": (("chord", 1, (1.5, 2, 14.5, 15)), ("rectangle", 1, (6, 8, 10, 14.5))),
    "house": (
        ("polygon", 1, (8, 1, 15, 7, 1, 7)),
        ("rectangle", 1, (3, 7, 13, 14.5)),
        ("rectangle", 0, (6.5, 10, 9.5, 14.5)),
    ),
    "cup": (
        ("polygon", 1, (2, 4, 11, 4, 10, 14, 3, 14)),
        ("ellipse", 1, (8.5, 5, 14.5, 12)),
        ("ellipse", 0, (10.5, 7, 12.8, 10)),
    ),
    "key": (
        ("ellipse", 1, (1, 4.5, 8, 11.5)),
        ("ellipse", 0, (3, 6.5, 6, 9.5)),
        ("rectangle", 1, (8, 7, 15, 9)),
        ("rectangle", 1, (10.5, 9, 12, 12)),
        ("rectangle", 1, (13.5, 9, 15, 12)),
    ),
    "flag": (("rectangle", 1, (2.5, 1, 4.5, 15)), ("polygon", 1, (4.5, 1.5, 14, 5.5, 4.5, 9.5))),
}


def _draw_kind(pen: ImageDraw.ImageDraw, kind: str, scale: float) -> None:
    for shape, ink, coordinates in _STROKES[kind]:
        points = [value * scale for value in coordinates]
        fill = 255 * ink
        if shape == "ellipse":
            pen.ellipse(points, fill=fill)
        elif shape == "rectangle":
            pen.rectangle(points, fill=fill)
        elif shape == "chord":
            pen.chord(points, 180, 360, fill=fill)
        else:
            pen.polygon(points, fill=fill)
