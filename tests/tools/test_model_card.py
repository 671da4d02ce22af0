"""The card of the embedded model."""

import string

from harness.paths import EMBEDDED
from tools.model_card import CARD


def test_the_cards_text_is_that_of_its_template():
    written = (EMBEDDED / "README.md").read_text()
    for text, *_ in string.Formatter().parse(CARD):
        before, found, written = written.partition(text)
        assert found, f"not in the card: {text}"
        assert len(before) < 500, f"unknown text in the card: {before}"
    assert not written
