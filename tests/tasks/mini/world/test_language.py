"""The words of the embedded world."""

import random

from tasks.mini.world import language


def test_training_and_evaluation_read_different_words():
    seen = set(language.words_on_signs(held_out=False))
    held_out = set(language.words_on_signs(held_out=True))
    assert not seen & held_out
    assert len(held_out) > 80
    rng = random.Random(0)
    assert not {language.random_letters(rng) for _ in range(5000)} & held_out
