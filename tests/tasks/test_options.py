"""Options are read where they are named plainly, and guessed nowhere."""

import pytest

from tasks.options import named_option

NUMBERS = ("12", "24", "3.5", "48")
LETTERS = ("A", "B", "C", "D")
PLACES = ("left of the tree", "left", "under the bridge", "It cannot be seen.")
ANGLES = ("40°", "140°", "2\\sqrt{3}", "\\sqrt{3}")


@pytest.mark.parametrize(
    "answer",
    [
        "B",
        "b",
        "B.",
        "(B)",
        "(b)",
        "b) 24",
        "B: that is what the scale shows",
        "**B**",
        "Answer: B",
        "The answer is B",
        "The answer is **B**.",
        "the correct option is: (b)",
        'I would say the answer is "B".',
        "Option B",
        "A kettle holds two litres, so the answer is B.",
        "The answer is option B, since the kettle is full.",
        "First we add the two.\n\nB",
        "So the correct answer is:\n\nB",
        "答案是B。",
        "24",
        "24.",
        "It weighs 24, I think.",
        "A: 24",
        "The scale shows (B) 24.",
    ],
)
def test_a_plainly_named_option_is_read(answer):
    assert named_option(answer, NUMBERS) == 1


@pytest.mark.parametrize(
    ("answer", "place"), [("A", 0), ("A.", 0), ("(A)", 0), ("Answer: A", 0), ("option A.", 0)]
)
def test_an_a_is_an_option_with_a_mark_or_alone(answer, place):
    assert named_option(answer, NUMBERS) == place


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "E",
        "A kettle that I cannot see",
        "A square",
        "Answer: A kettle is on the scale",
        "the answer is a number",
        "I",
        "Because",
        "12 or 24",
        "(A) or (B)",
        "A, B, C, D",
        "one of the options (A, B, C or D)",
        "(A) 12\n(B) 24\n(C) 3.5\n(D) 48",
        "1240",
        "24.5",
        "-24",
        "13.5",
        "f(B) grows",
    ],
)
def test_nothing_is_guessed(answer):
    assert named_option(answer, NUMBERS) is None


@pytest.mark.parametrize(
    ("options", "answer", "place"),
    [
        (("Yes", "No"), "Yes, both of them are.", 0),
        (("yes", "no"), "No.", 1),
        (("Yes", "No"), "The answer is no", 1),
        (("Yes", "No"), "There is no kettle on it.", None),
        (("Yes", "No"), "Nobody knows", None),
        (PLACES, "It is left of the tree.", 0),
        (PLACES, "To the LEFT", 1),
        (PLACES, "it cannot be seen", 3),
        (PLACES, "Either left or under the bridge", None),
        (LETTERS, "a", 0),
        (LETTERS, "The next shape has a hole", None),
        (LETTERS, "D", 3),
        (ANGLES, "The angle is 140 degrees.", 1),
        (ANGLES, "$2\\sqrt{3}$", 2),
        (ANGLES, "x = \\sqrt{3} and that is all", 3),
    ],
)
def test_text_of_one_option_names_it_and_no_shorter_one(options, answer, place):
    assert named_option(answer, options) == place
