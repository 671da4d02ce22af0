"""From what a picture shows to its pixels."""

from __future__ import annotations

import functools
import random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tasks.mini.world.pictures import (
    BAR,
    CELL_PIXELS,
    COLORS,
    KINDS,
    Picture,
)

Mask = NDArray[np.float32]


def draw(picture: Picture, rng: random.Random) -> Image.Image:
    """The picture as RGB pixels, 16 x 16 a cell.

    Glyphs are shifted by up to one pixel, colours and background jittered, pixel noise added.

    Args:
        picture: What is shown.
        rng: Seeds all of this.
    """
    noise = np.random.default_rng(rng.getrandbits(64))
    rows, columns = picture.size
    shape = (rows * CELL_PIXELS, columns * CELL_PIXELS, 3)
    canvas = np.full(shape, noise.uniform(12, 48, size=3), dtype=np.float32)
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
def glyph_mask(symbol: str) -> Mask:
    """Coverage of a symbol in its cell, drawn four times larger and averaged down.

    Args:
        symbol: Of a `Glyph`, but for bars.

    Returns:
        (16, 16) float32 from 0 to 1.
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
    fine = np.asarray(image, dtype=np.float32)
    coverage: Mask = fine.reshape(CELL_PIXELS, scale, CELL_PIXELS, scale).mean(axis=(1, 3)) / 255
    return coverage


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
