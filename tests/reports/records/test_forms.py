"""The form of answers, apart from what they say."""

import pytest

from reports.records.forms import changed_share, form_changed
from tests.reports.builders import suite_result


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("14", "14."),
        ("kettle", "Kettle"),
        ("kettle", "KETTLE"),
        ("14", "It is 14"),
        ("Yes", "Yes, a kettle is on the stove"),
        ("red", "blue."),
        ("red", "The kettle is a blue one"),
        ("Red", "blue"),
        ("two words", "two  words"),
        ("(B)", "B"),
    ],
)
def test_the_form_changed_whichever_way_round(before, after):
    assert form_changed(before, after)
    assert form_changed(after, before)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("14", "14"),
        ("14", "15"),
        ("red", "blue"),
        ("14", "Blue"),
        ("Yes.", "No."),
        ("The kettle is red.", "The stove is white and clean."),
        ("red", ""),
        ("", "red"),
        ("red", "..."),
    ],
)
def test_another_answer_in_the_same_form_and_silence_are_no_change_of_form(before, after):
    assert not form_changed(before, after)
    assert not form_changed(after, before)


def said(*texts):
    result = suite_result([1.0] * len(texts))
    answers = [
        one.model_copy(update={"response": text})
        for one, text in zip(result.answers, texts, strict=True)
    ]
    return result.model_copy(update={"answers": answers})


def test_the_share_is_of_the_questions_that_both_have():
    assert changed_share(said("14.", "Red"), said("14", "Red", "no")) == 0.5
    assert changed_share(said(), said("14")) is None
