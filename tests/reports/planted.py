"""Answers of two variants with a planted loss."""

import numpy as np


def planted(rng, pictures, each, loss, agreement=0.9):
    """(right before, right after, picture) of `each` questions on each picture.

    Answers of one picture depend on each other, and so do those of the two variants; the second
    variant loses `loss` of its right answers for good.
    """
    ability = rng.beta(6, 2, size=pictures).repeat(each)
    before = rng.random(len(ability)) < ability
    again = rng.random(len(ability)) < ability
    after = np.where(rng.random(len(ability)) < agreement, before, again) & ~(
        rng.random(len(ability)) < loss
    )
    return before, after, np.arange(pictures).repeat(each)
