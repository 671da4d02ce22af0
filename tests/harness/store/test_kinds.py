"""One table says of every kind of entry how it is checked and when it may go."""

import re
from pathlib import Path

import pytest

import harness
from harness.store.answers import AnswerLog
from harness.store.kinds import KINDS, check, set_aside, unreferenced
from harness.store.records import save_cell, save_result
from harness.store.tensors import CorruptEntry
from reports.records.entries import PICTURES_FILE
from reports.records.schema import SCHEMA_VERSION, NewerSchema
from reports.report.read import read_store
from tests.reports.builders import add_cell

SOURCES = "\n".join(path.read_text() for path in Path(harness.__file__).parent.rglob("*.py"))
CALLS = r"(?:create|claim|running|cached|save_tensors|load_tensors|load_record|load_value|has|path)"
KEY = "k"


@pytest.fixture
def row(tmp_path):
    """A cell and its result."""
    add_cell(tmp_path)
    ((row,), _, _) = read_store(tmp_path)
    return row


def test_every_kind_that_the_harness_writes_is_in_the_table():
    """Kinds are written as plain words, in calls of the store or below its root."""
    used = set(re.findall(rf'store\.{CALLS}\(\s*"(\w+)"', SOURCES))
    used |= set(re.findall(r'store\.root / "([a-z_]+)"', SOURCES))
    assert {"cells", "bank", "stats", "logs"} <= used
    assert used <= set(KINDS)


def test_every_kind_in_the_table_is_used():
    for kind in KINDS.values():
        places = re.findall(rf'["\'/]{kind.name}["\'/]', SOURCES)
        assert len(places) >= 2 or kind.lifetime == "leftover", kind.name


def test_what_refers_to_a_kind_is_in_the_table_and_permanent_at_the_end():
    for kind in KINDS.values():
        assert (kind.lifetime == "referenced") == bool(kind.referenced_by)
        while kind.referenced_by:
            kind = KINDS[kind.referenced_by]
        assert kind.lifetime in ("permanent", "reusable", "rebuildable", "leftover")


def test_every_kind_that_is_made_again_can_be_checked():
    for kind in KINDS.values():
        if kind.lifetime in ("referenced", "reusable", "rebuildable"):
            assert kind.read is not None, kind.name


def make(store, name):
    """A sound entry of a kind; the file of it that will be damaged."""
    folder = store.path(name, KEY)
    if KINDS[name].read is KINDS["bank"].read:
        store.save_tensors(name, KEY, {}, {})
        return folder / "manifest.json"
    if name == "answers":
        AnswerLog(store, KEY).append({"sound": {"response": "yes"}})
        (sound,) = folder.iterdir()
        AnswerLog(store, KEY).append({"damaged": {"response": "yes"}})
        return next(path for path in folder.iterdir() if path != sound)
    if name == "pictures":
        with store.create(name, KEY) as partial:
            (partial / PICTURES_FILE).write_text("{}")
        return folder / PICTURES_FILE
    store.cached(name, KEY, lambda: [1.5])
    return folder / "value.json"


@pytest.mark.parametrize(
    "name",
    [
        *("bank", "stats", "factors", "features", "states", "answers", "pictures"),
        *("scores", "entropy", "block_errors", "calibration_pictures"),
    ],
)
def test_r6_a_damaged_entry_of_any_kind_is_found_and_set_aside(store, name):
    kind, file = KINDS[name], make(store, name)
    check(kind, store.path(name, KEY))
    file.write_bytes(b"[" + file.read_bytes()[1:-1])
    with pytest.raises(CorruptEntry):
        check(kind, store.path(name, KEY))
    set_aside(store, kind, KEY, "it is damaged")
    assert not file.exists()
    if name == "answers":
        assert set(AnswerLog(store, KEY).load()) == {"sound"}
    else:
        assert not store.has(name, KEY)


def test_a_cell_of_a_newer_harness_is_not_damaged(store, row):
    save_cell(store, KEY, row.cell)
    check(KINDS["cells"], store.path("cells", KEY))
    path = store.path("cells", KEY) / "cell.json"
    path.with_name("cell.json.sha256").unlink()
    version = f'"schema_version": {SCHEMA_VERSION}'
    path.write_text(path.read_text().replace(version, f'"schema_version": {SCHEMA_VERSION + 1}'))
    with pytest.raises(NewerSchema):
        check(KINDS["cells"], store.path("cells", KEY))


def test_drawn_data_without_a_file_is_damaged(store):
    with store.create("data", KEY):
        pass
    with pytest.raises(CorruptEntry, match="it is empty"):
        check(KINDS["data"], store.path("data", KEY))


def test_results_and_pictures_that_nothing_names_are_unreferenced(store, row):
    save_cell(store, KEY, row.cell)
    save_result(store, row.cell.result, row.result.model_copy(update={"pictures": "shown"}))
    save_result(store, "orphan", row.result)
    for key in ("shown", "lost"):
        with store.create("pictures", key) as folder:
            (folder / PICTURES_FILE).write_text("{}")
    (store.root / "cells" / "notes.txt").write_text("of a person")
    found = {kind: unreferenced(store.root, KINDS[kind]) for kind in KINDS}
    assert {kind: [path.name for path in paths] for kind, paths in found.items() if paths} == {
        "results": ["orphan"],
        "pictures": ["lost"],
    }
