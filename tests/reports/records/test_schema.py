"""Reading one file: newer schemas, damage and misfits each have their own message."""

import pytest

from reports.records.results import Failure
from reports.records.schema import SCHEMA_VERSION, NewerSchema, read_checked, reason_of, to_json
from reports.records.sealed_json import seal

FAILURE = Failure(
    model="mini", method="billm", k=0, suite="s", limit=None, error="NaN", command="python"
)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "f.json"
    path.write_text(to_json(FAILURE))
    return path


def test_a_record_comes_back_as_it_was_written(file):
    assert read_checked(file, Failure) == FAILURE
    seal(file, f"{file.parent.parent.name}/{file.parent.name}")
    assert read_checked(file, Failure) == FAILURE


def test_a_changed_file_is_refused_by_its_seal(file):
    seal(file, f"{file.parent.parent.name}/{file.parent.name}")
    file.write_text(to_json(FAILURE.model_copy(update={"k": 1})))
    with pytest.raises(ValueError, match="SHA-256"):
        read_checked(file, Failure)


def test_a_newer_schema_is_refused_before_its_fields_are_read(file):
    newer = to_json(FAILURE).replace(
        f'"schema_version": {SCHEMA_VERSION}', f'"schema_version": {SCHEMA_VERSION + 1}, "new": 1'
    )
    file.write_text(newer)
    with pytest.raises(NewerSchema, match="update luq-harness"):
        read_checked(file, Failure)


def test_the_reason_names_the_first_field_that_does_not_fit(file):
    file.write_text(to_json(FAILURE).replace('"k": 0', '"k": "many"'))
    with pytest.raises(ValueError, match="k") as error:
        read_checked(file, Failure)
    assert reason_of(error.value).startswith(
        f"1 fields do not fit schema {SCHEMA_VERSION}, the first: k: "
    )
