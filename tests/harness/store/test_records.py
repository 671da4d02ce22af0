"""What the harness stores is what the report reads."""

import pytest

from harness.errors import StoreError
from harness.store.records import (
    has_failure,
    load_cell,
    load_result,
    remove_failure,
    save_cell,
    save_failure,
    save_measurement,
    save_result,
)
from harness.store.store import Store
from reports.records.measurements import Entropy
from reports.records.results import Failure
from reports.records.schema import SCHEMA_VERSION
from reports.report.read import read_measurements, read_store
from tests.reports.builders import add_cell

FAILURE = Failure(
    model="m", method="luq", k=2, suite="s", limit=None, error="it broke", command="harness"
)


@pytest.fixture
def made(tmp_path):
    """A cell and its result."""
    add_cell(tmp_path)
    ((row,), _, _) = read_store(tmp_path)
    return row.cell, row.result


def test_cells_and_results_come_back_as_they_were_and_the_report_reads_them(store, made):
    cell, result = made
    save_result(store, cell.result, result)
    save_cell(store, "c", cell)
    assert load_cell(store, "c") == cell
    assert load_result(store, cell.result) == result
    ((row,), failures, problems) = read_store(store.root)
    assert (row.cell, row.result, failures, problems) == (cell, result, [], [])


def test_a_cell_that_is_absent_or_damaged_is_none(store, made):
    assert load_cell(store, "c") is None
    save_cell(store, "c", made[0])
    (store.path("cells", "c") / "cell.json").write_text("{}")
    assert load_cell(store, "c") is None
    assert not store.has("cells", "c")


def test_a_cell_of_a_newer_harness_is_refused_and_left_alone(store, made):
    save_cell(store, "c", made[0])
    path = store.path("cells", "c") / "cell.json"
    path.with_name("cell.json.sha256").unlink()
    text = path.read_text()
    version = f'"schema_version": {SCHEMA_VERSION}'
    assert version in text
    path.write_text(text.replace(version, f'"schema_version": {SCHEMA_VERSION + 1}'))
    with pytest.raises(StoreError, match="written by a newer harness"):
        load_cell(store, "c")
    assert path.exists()


def test_a_failure_is_reported_until_it_is_removed(store):
    assert not has_failure(store, "c")
    remove_failure(store, "c")
    save_failure(store, "c", FAILURE)
    assert has_failure(Store(store.root), "c")
    assert read_store(store.root)[1] == [FAILURE]
    remove_failure(store, "c")
    assert not has_failure(store, "c")


def test_a_measurement_replaces_the_earlier_one_of_its_key(store):
    for bits in (1.0, 2.0):
        made = Entropy(
            model="m",
            alpha=0.5,
            calibration_seed=0,
            tokens=10,
            image_token_share=0.0,
            command="harness",
            at="output",
            of_tokens="all",
            drop=0.0,
            clusters=2,
            init="random",
            bits=[[bits]],
            seed_tau=1.0,
        )
        save_measurement(store, "m", made)
    assert read_measurements(store.root) == ([made], [])
