import pytest

from tests import requirements


@pytest.mark.parametrize("number", requirements.REQUIREMENTS)
def test_every_requirement_has_a_test_with_its_number_in_the_default_suite(number):
    assert any(not test.slow for test in requirements.tests_by_requirement()[number])


def test_the_table_is_that_of_the_tests():
    assert requirements.PAGE.read_text() == requirements.text(), (
        "run python -m tests.requirements --write"
    )
