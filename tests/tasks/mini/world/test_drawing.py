"""Pictures from a seed, and the glyphs that they are made of."""

import itertools
import random

import numpy as np

from tasks.mini.world.drawing import draw, glyph_mask
from tasks.mini.world.pictures import DIGITS, KINDS, LETTERS
from tasks.mini.world.sampling import random_scene


def test_a_seed_draws_the_same_picture_and_another_seed_another():
    def pixels(seed):
        rng = random.Random(seed)
        return np.asarray(draw(random_scene(rng), rng))

    assert np.array_equal(pixels(1), pixels(1))
    assert not np.array_equal(pixels(1), pixels(2))
    assert pixels(1).shape == (64, 64, 3)


def test_every_symbol_is_drawn_and_no_two_look_alike():
    masks = {s: glyph_mask(s) for s in (*KINDS, *LETTERS, *DIGITS, *"+-=>?")}
    assert all(mask.sum() > 2 for mask in masks.values())
    for (a, first), (b, second) in itertools.combinations(masks.items(), 2):
        assert np.abs(first - second).sum() > 1, (a, b)
