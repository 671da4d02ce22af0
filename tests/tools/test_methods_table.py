import re

import pytest

from tools.methods_table import README, with_table

NUMBER = re.compile(r"\d+\.\d+")


def test_the_readmes_table_is_the_registrys():
    """Word for word; measured bits may differ in the last digit between processors."""
    written = README.read_text()
    fresh = with_table(written)
    assert NUMBER.sub("N", fresh) == NUMBER.sub("N", written), (
        "run python -m tools.methods_table --write"
    )
    numbers = [[float(n) for n in NUMBER.findall(text)] for text in (fresh, written)]
    assert numbers[0] == pytest.approx(numbers[1], abs=0.02)


def test_a_readme_without_its_place_is_refused():
    with pytest.raises(ValueError, match="the README has no lines"):
        with_table("nothing here")
