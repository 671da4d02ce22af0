"""Differences of means over suites."""

import random

import numpy as np
import pytest

from reports.statistics.mean import (
    Bounded,
    mean_over_suites,
    paired_difference,
    suite_differences,
)
from tests.reports.builders import suite_result


def result(scores, *, suite="a", statistic="mean", size=1):
    """One answer for each score, `size` of them to a picture."""
    clusters = [i // size for i in range(len(scores))]
    return suite_result(scores, suite=suite, clusters=clusters, statistic=statistic)


def test_r39_equal_answers_leave_room_for_what_few_questions_could_have_missed():
    same = {"a": result([1, 0, 1, 1])}
    difference = paired_difference(same, same)
    assert (difference.points, difference.questions, difference.clusters) == (0, 4, 4)
    assert str(difference) == "+0.0 [-60.2, +60.2]"  # 1 - 0.025^(1/4)
    many = {"a": result([1, 0] * 1000)}
    assert str(paired_difference(many, many)) == "+0.0 [-0.2, +0.2]"


def test_r39_a_mean_keeps_the_unequal_sides_of_its_suites():
    """One suite whose interval reaches far down only: so does the mean's."""
    sides = [[Bounded(0.9, 0.5, 0.95, 1.0)], [Bounded(90.0, 87.0, 93.0, 100.0)]]
    mean, low, high = mean_over_suites(sides)
    assert mean == pytest.approx(90)
    assert mean - low == pytest.approx(np.hypot(40, 3) / 2)
    assert high - mean == pytest.approx(np.hypot(5, 3) / 2)
    alone = mean_over_suites([[Bounded(100.0, 80, 150, 800), Bounded(500.0, 480, 550, 1200)]])
    assert alone == (pytest.approx(30), pytest.approx(28), pytest.approx(35))


def test_suites_weigh_the_same_whatever_their_size():
    first = {"a": result([1] * 10), "b": result([0] * 1000, suite="b")}
    second = {"a": result([0] * 10), "b": result([0] * 1000, suite="b")}
    assert paired_difference(first, second).points == 50


def test_a_circular_group_is_right_only_as_a_whole():
    right, broken = [1, 1, 1, 1] * 5, [1, 1, 0, 1] + [1, 1, 1, 1] * 4
    pair = [{"a": result(scores, statistic="circular", size=4)} for scores in (broken, right)]
    assert paired_difference(*pair).points == pytest.approx(-20)


@pytest.mark.parametrize("size", [1, 6])
def test_nineteen_of_twenty_intervals_hold_the_planted_difference(size):
    """Pictures, not questions, are what was drawn: clusters of equal answers must not narrow the
    interval.
    """
    rng = random.Random(size)
    held = 0
    for _ in range(200):
        first, second = [], []
        for _ in range(120):
            base, lost = rng.random() < 0.8, rng.random() < 0.1
            first += [float(base and not lost)] * size
            second += [float(base)] * size
        difference = paired_difference(
            {"a": result(first, size=size)}, {"a": result(second, size=size)}
        )
        held += difference.low <= -8 <= difference.high
    assert 180 <= held <= 198


def test_only_common_questions_count_and_none_in_common_is_an_error():
    difference = paired_difference({"a": result([1, 0, 0])}, {"a": result([1, 1])})
    assert (difference.questions, difference.points) == (2, -50)
    with pytest.raises(ValueError, match="no question in common"):
        paired_difference({"a": result([1])}, {"b": result([1])})


def test_texts_do_not_count_in_the_mean():
    first = {"a": result([1, 0]), "t": result([2.0, 2.1], suite="t", statistic="perplexity")}
    second = {"a": result([0, 0]), "t": result([9.0, 9.1], suite="t", statistic="perplexity")}
    assert [one.suite for one in suite_differences(first, second)] == ["a"]
    assert paired_difference(first, second).points == 50


def test_points_are_per_cent_of_what_can_be_had():
    """MME counts 200 points for each category, so half of its points are half a suite."""
    pairs = {"statistic": "mme", "size": 2}
    first, second = result([1, 1] * 10, **pairs), result([1, 0] * 10, **pairs)
    metric = first.metrics[0].model_copy(update={"maximum": 200.0})
    first, second = (one.model_copy(update={"metrics": [metric]}) for one in (first, second))
    assert paired_difference({"a": first}, {"a": second}).points == pytest.approx(75)
