"""Results are stored once under their key."""

import pytest

from harness.errors import CellError
from harness.evaluation.suite import stored_result
from reports.records.results import SuiteResult

RESULT = SuiteResult(
    suite="s",
    suite_title="S",
    limit=None,
    n=0,
    errors=0,
    empty=0,
    unparseable=0,
    metrics=[],
    answers=[],
)


def test_a_result_is_evaluated_once(store):
    calls = []

    def evaluate():
        calls.append(1)
        return RESULT

    assert stored_result(store, "key", evaluate) == stored_result(store, "key", evaluate) == RESULT
    assert len(calls) == 1


def test_a_damaged_result_is_evaluated_again(store):
    stored_result(store, "key", lambda: RESULT)
    (store.path("results", "key") / "result.json").write_text("{}")
    assert stored_result(store, "key", lambda: RESULT) == RESULT
    assert len(list((store.root / "corrupt").iterdir())) == 1


def test_a_failure_stores_nothing(store):
    def fail():
        raise CellError("no score")

    with pytest.raises(CellError):
        stored_result(store, "key", fail)
    assert not store.has("results", "key")
