import pytest

from harness.survey import Survey


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
