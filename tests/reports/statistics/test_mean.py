import random

import pytest

from reports.records.results import Answer, MetricScore, SuiteResult
from reports.statistics.mean import paired_difference


def result(scores, *, suite="a", statistic="mean", size=1, metric="score"):
    """One answer for each score, `size` of them to a picture."""
    answers = [
        Answer(
            question_id=str(i),
            cluster=str(i // size),
            prompt="",
            target="",
            response="",
            status="answered",
            scores={metric: s},
        )
        for i, s in enumerate(scores)
    ]
    found = MetricScore(
        metric=metric,
        score=0.5,
        ci_low=0,
        ci_high=1,
        n=len(scores),
        maximum=1,
        primary=True,
        statistic=statistic,
    )
    return SuiteResult(
        suite=suite,
        suite_title=suite,
        limit=None,
        n=len(scores),
        errors=0,
        empty=0,
        unparseable=0,
        metrics=[found],
        answers=answers,
    )


def test_equal_answers_differ_by_nothing_with_no_width():
    same = {"a": result([1, 0, 1, 1])}
    found = paired_difference(same, same)
    assert (found.points, found.low, found.high, found.questions) == (0, 0, 0, 4)
    assert str(found) == "+0.0 [+0.0, +0.0]"


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
        found = paired_difference({"a": result(first, size=size)}, {"a": result(second, size=size)})
        held += found.low <= -8 <= found.high
    assert 180 <= held <= 198


def test_only_common_questions_count_and_none_in_common_is_an_error():
    found = paired_difference({"a": result([1, 0, 0])}, {"a": result([1, 1])})
    assert (found.questions, found.points) == (2, -50)
    with pytest.raises(ValueError, match="no question in common"):
        paired_difference({"a": result([1])}, {"b": result([1])})
