"""The table of methods in the documentation."""

import re

import pytest

from tools.methods_table import BEGIN, END, PAGE, with_table

NUMBER = re.compile(r"\d+\.\d+")


def test_the_pages_table_is_the_registrys():
    """Word for word; measured bits may differ in the last digit between processors."""
    written = PAGE.read_text()
    fresh = with_table(written)
    assert NUMBER.sub("N", fresh) == NUMBER.sub("N", written), (
        "run python -m tools.methods_table --write"
    )
    numbers = [[float(n) for n in NUMBER.findall(text)] for text in (fresh, written)]
    assert numbers[0] == pytest.approx(numbers[1], abs=0.02)


@pytest.mark.parametrize("page", ["nothing here", BEGIN, f"{END} and nothing else"])
def test_a_page_without_a_place_for_the_table_is_refused(page):
    with pytest.raises(ValueError, match="the page has no place for the table; add the lines"):
        with_table(page)
