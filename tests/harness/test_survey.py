import pytest

from harness.survey import Survey, duration


@pytest.mark.parametrize(
    ("survey", "said"),
    [
        (Survey(9, 9, 0, None), "9 cells, all already done"),
        (Survey(1, 0, 0, None), "1 cell, 0 already done"),
        (Survey(9, 2, 1400, None), "9 cells, 2 already done, 7 left with at most 1,400 questions (time unknown, nothing was asked"),
        (Survey(9, 2, 1400, 600.0), "9 cells, 2 already done, 7 left with at most 1,400 questions (about 10 min, and quantization)"),
    ],
)
def test_a_survey_says_what_is_done_and_what_is_left(survey, said):
    assert str(survey).startswith(said)


@pytest.mark.parametrize(("seconds", "said"), [(0.2, "1 s"), (80, "80 s"), (100, "2 min"), (5000, "83 min"), (7200, "2.0 h")])
def test_durations_are_told_in_a_unit_that_fits(seconds, said):
    assert duration(seconds) == said
