"""Room for what was not drawn: exact where it can be worked out, and the largest that fits."""

import itertools

import numpy as np
import pytest
from scipy.stats import binomtest

from reports.statistics.resampling import Unseen, largest_unseen


@pytest.mark.parametrize("count", [1, 4, 20, 2000])
def test_r39_one_group_has_the_exact_interval_of_trials_that_came_out_alike(count):
    exact = binomtest(0, count).proportion_ci(0.95, method="exact").high
    assert largest_unseen(np.array([1.0]), np.array([float(count)])) == pytest.approx(exact)


def test_groups_share_one_chance_of_having_been_missed():
    """Nothing on a grid of shares that all draws may have missed reaches further."""
    weights, counts = np.array([2.0, 1.0, 0.0]), np.array([3.0, 5.0, 1.0])
    grid = np.linspace(0, 1, 401)[:-1]
    reached = max(
        2 * one + other
        for one, other in itertools.product(grid, grid)
        if 3 * np.log1p(-one) + 5 * np.log1p(-other) >= np.log(0.025)
    )
    assert largest_unseen(weights, counts) == pytest.approx(reached, abs=0.01)
    assert largest_unseen(weights, counts) >= reached


def test_what_cannot_move_has_no_room():
    assert Unseen(np.zeros(2), np.array([0.0, 1.0]), np.array([3.0, 1.0])).room() == (
        0.0,
        pytest.approx(0.975),
    )
