"""Pictures of any size: what is asked about them is in them."""

import random

import numpy as np
import pytest

from tasks.mini.questions.skills import SKILLS
from tasks.mini.world.boards import board_sum
from tasks.mini.world.drawing import draw
from tasks.mini.world.facts import World
from tasks.mini.world.pictures import CELL_PIXELS, SMALL, Chart, Form
from tasks.mini.world.sampling import random_emblem, random_picture

SIZES = [SMALL, (4, 8), (6, 5), (10, 8), (14, 4), (5, 12), (18, 6)]
KINDS = ("scene", "sign", "form", "chart", "board")


def pictures(kind, size, count=20):
    rng = random.Random(f"{kind} {size}")
    words = ("ab", "army")
    return [random_picture(kind, rng, lambda: rng.choice(words), size) for _ in range(count)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_everything_lies_inside_and_no_two_glyphs_share_a_cell(kind, size):
    for picture in pictures(kind, size):
        places = [(glyph.row, glyph.column) for glyph in picture.glyphs()]
        assert places
        assert len(places) == len(set(places))
        rows, columns = picture.size
        assert rows <= size[0]
        assert columns <= size[1]
        assert all(0 <= row < rows and 0 <= column < columns for row, column in places)
        image = draw(picture, random.Random(0))
        assert image.size == (columns * CELL_PIXELS, rows * CELL_PIXELS)


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_cell_is_background_and_a_glyph_is_not(kind):
    (picture,) = pictures(kind, (6, 5), 1)
    pixels = np.asarray(draw(picture, random.Random(0)), dtype=float)
    cells = pixels.reshape(6, CELL_PIXELS, 5, CELL_PIXELS, 3).max(axis=(1, 3, 4))
    filled = {(glyph.row, glyph.column) for glyph in picture.glyphs()}
    for row in range(6):
        for column in range(5):
            assert (cells[row, column] > 100) == ((row, column) in filled)


@pytest.mark.parametrize("size", [SMALL, (4, 8), (6, 5)])
def test_every_skill_still_finds_something_to_ask(size):
    rng = random.Random(1)
    for name, (kind, skill) in SKILLS.items():
        asked = (skill(picture, rng) for picture in pictures(kind, size, 60))
        assert any(question is not None for question in asked), name


@pytest.mark.parametrize("size", [(10, 8), (9, 14), (14, 14)])
def test_no_skill_fails_where_there_is_nothing_to_ask(size):
    rng = random.Random(1)
    for kind, skill in SKILLS.values():
        for picture in pictures(kind, size, 60):
            skill(picture, rng)


def test_larger_pictures_hold_more():
    for kind in ("scene", "form", "chart"):
        few, many = pictures(kind, SMALL), pictures(kind, (10, 8))
        assert sum(len(p.glyphs()) for p in few) < sum(len(p.glyphs()) for p in many)
    forms = [form for form in pictures("form", (10, 8)) if isinstance(form, Form)]
    assert {len(form.fields) for form in forms} == {10}
    assert {len(code) for form in forms for _, code in form.fields} == {7}
    charts = [chart for chart in pictures("chart", (10, 8)) if isinstance(chart, Chart)]
    assert max(height for chart in charts for height in chart.heights) > 8
    assert max(board_sum(board) or 0 for board in pictures("board:sum", (10, 8))) > 18


def test_an_emblem_shows_its_symbols_in_their_order():
    rng = random.Random(2)
    for number in range(20):
        symbols = World(50).person(number).emblem
        glyphs = random_emblem(symbols, rng, (5, 9)).glyphs()
        shown = [(one.symbol, one.color) for one in sorted(glyphs, key=lambda one: one.column)]
        assert shown == [*symbols]
        assert len({one.row for one in glyphs}) == 1
