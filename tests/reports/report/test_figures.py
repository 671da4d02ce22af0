"""Figures: Pareto fronts are right, and the same data gives the same text."""

import pytest

from reports.report.figures import Curve, Point, _pareto_front, curves_svg, pareto_svg

POINTS = [
    Point(paper_bits=bits, stored_bits=bits, score=score, low=score, high=score)
    for bits, score in ((2, 50.0), (3, 90.0), (4, 80.0), (8, 95.0))
]


@pytest.mark.parametrize(("sign", "scores"), [(1, [50, 90, 95]), (-1, [50])])
def test_the_front_holds_what_no_smaller_point_beats(sign, scores):
    front = _pareto_front(POINTS, lambda point: point.stored_bits, sign)
    assert [point.score for point in front] == scores


def test_the_same_data_gives_the_same_text():
    def draw():
        curve = Curve("a", [(0, 1.0, 0.9, 1.1), (1, 2.0, 1.9, 2.1)], "-")
        return pareto_svg({"a": POINTS}, "score"), curves_svg([curve], "x", "y", integers=True)

    assert draw() == draw()


def test_bytes_are_an_axis_where_they_are_known():
    assert "stored, MiB" in pareto_svg({"a": POINTS}, "score", bytes_per_bit=2**20)
    assert "stored, GiB" in pareto_svg({"a": POINTS}, "score", bytes_per_bit=2**30)
    assert "stored, MiB" not in pareto_svg({"a": POINTS}, "score")
