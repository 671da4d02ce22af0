import random

import pytest

from luq.calibration.stability import (
    kendall_distance,
    rank_changes,
    seed_agreement,
    stable_clusters,
)


def test_kendall_distance_is_the_share_of_pairs_in_another_order():
    assert kendall_distance([1, 2, 3, 4], [10, 20, 30, 40]) == 0
    assert kendall_distance([1, 2, 3, 4], [4, 3, 2, 1]) == 1
    assert kendall_distance([1, 2, 3, 4], [2, 1, 3, 4]) == pytest.approx(1 / 6)
    rng = random.Random(0)
    a, b = ([rng.random() for _ in range(12)] for _ in range(2))
    pairs = [(i, j) for i in range(12) for j in range(i)]
    assert kendall_distance(a, b) == pytest.approx(
        sum((a[i] < a[j]) != (b[i] < b[j]) for i, j in pairs) / len(pairs)
    )


def test_r23_ties_rank_by_block_number():
    assert kendall_distance([5, 5, 5], [1, 2, 3]) == 0


def test_seeds_that_agree_have_tau_one_and_opposite_ones_minus_one():
    assert seed_agreement([[1, 2, 3]] * 4) == 1
    assert seed_agreement([[1, 2, 3], [3, 2, 1]]) == -1
    assert seed_agreement([[1, 2, 3]]) == 1


def test_changes_are_means_over_seeds():
    assert rank_changes([[[1, 2], [1, 2]], [[1, 2], [2, 1]], [[1, 2], [2, 1]]]) == [0.5, 0]


def test_the_elbow_of_a_falling_curve_is_found():
    grid = list(range(10, 201, 10))
    changes = [0.5 / (1 + j) ** 2 for j in range(19)]
    stable = stable_clusters(grid, changes)
    assert stable.clusters in (30, 40, 50)
    assert stable.rule == "elbow of the curve"


def test_without_an_elbow_the_first_still_stretch_counts_and_without_that_nothing():
    grid = [10, 20, 30, 40, 50, 60]
    assert stable_clusters(grid, [0.0] * 5).clusters == 20
    assert "no elbow; first of 3 steps" in stable_clusters(grid, [0.0] * 5).rule
    rising = stable_clusters(grid, [0.01, 0.01, 0.01, 0.3, 0.5])
    assert (rising.clusters, "no elbow" in rising.rule) == (20, True)
    begins = stable_clusters([10, 20, 30, 40, 50, 60, 70], [0.30, 0.32, 0.24, 0.16, 0.24, 0.20])
    assert (begins.clusters, "no elbow" in begins.rule) == (
        None,
        True,
    )  # Kneedle says 20, the first point
    never = stable_clusters(grid, [0.1, 0.2, 0.3, 0.4, 0.5])
    assert (never.clusters, "no elbow" in never.rule) == (None, True)
