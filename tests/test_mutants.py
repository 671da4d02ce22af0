"""The tests notice faults that are planted in the code they guard."""

import pytest

from tests import mutants
from tests.paths import ROOT


@pytest.mark.parametrize("mutant", mutants.MUTANTS, ids=lambda mutant: mutant.what)
def test_every_fault_has_its_place_and_its_tests(mutant):
    assert (ROOT / mutant.file).read_text(encoding="utf-8").count(mutant.old) == 1
    assert mutant.old != mutant.new
    assert all((ROOT / name).is_file() for name in mutant.tests)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_at_most_one_planted_fault_is_missed():
    missed = [mutant.what for mutant, seen in mutants.noticed(mutants.MUTANTS) if not seen]
    assert len(missed) <= 1, missed
