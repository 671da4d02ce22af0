import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.records.sealed_json import strict_json

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)


@given(
    st.recursive(
        LEAVES, lambda values: st.lists(values) | st.dictionaries(st.text(), values), max_leaves=20
    )
)
def test_plain_json_comes_back_as_it_was(value):
    assert strict_json(json.dumps(value)) == value


@pytest.mark.parametrize(
    "text",
    [
        "NaN",
        "[Infinity]",
        '{"a": -Infinity}',
        '{"a": 1, "a": 2}',
        "[" * 100_000,
        "{" * 9,
        "",
        b"\xff",
    ],
)
def test_r19_what_is_no_json_is_a_value_error_and_nothing_else(text):
    with pytest.raises(ValueError):  # noqa: PT011 (every message is another)
        strict_json(text)


@given(st.text() | st.binary())
def test_r19_any_text_is_a_value_or_a_value_error(text):
    with contextlib.suppress(ValueError):
        strict_json(text)
