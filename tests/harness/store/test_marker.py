"""Only a folder that is a store is written to or cleaned."""

import shutil

import pytest

from harness import api
from harness.errors import ConfigError
from harness.store.kinds import KINDS
from harness.store.marker import FOLDERS, MARKER, REPORT, require_store, require_usable
from harness.store.store import Store
from reports.report.write import FILES
from tests.harness.store.kills import copies


def test_the_names_of_a_store_are_those_of_its_kinds_and_of_the_report():
    assert KINDS.keys() == FOLDERS
    assert {name.split("/")[0] for name in FILES} - {"report"} == REPORT


def test_r36_a_store_is_marked_when_it_is_made(tmp_path):
    Store(tmp_path / "runs")
    assert (tmp_path / "runs" / MARKER).is_file()
    require_store(tmp_path / "runs")


def test_r36_a_store_of_an_earlier_version_gets_its_marker(store):
    store.cached("scores", "key", lambda: [1])
    (store.root / MARKER).unlink()
    require_store(store.root)
    assert not (store.root / MARKER).exists()
    assert Store(store.root).load_value("scores", "key") == [1]
    assert (store.root / MARKER).is_file()


def test_r36_a_marked_store_may_hold_notes_of_its_owner(store):
    (store.root / "notes.txt").write_text("mine")
    Store(store.root)
    require_store(store.root)


@pytest.fixture(
    params=["files", "one kind and a file", "only common names", "names of kinds", "a file"]
)
def foreign(request, tmp_path):
    root = tmp_path / "mine"
    if request.param == "a file":
        root.write_text("mine")
        return root
    names = {
        "files": ("thesis.tex", "src/a.py"),
        "one kind and a file": ("results/a.csv", "thesis.tex"),
        "only common names": ("data/a.csv", "report/a.pdf"),
        "names of kinds": ("cells/a.h5", "features/x/a.npy", "results/a.csv", "stats/a.txt"),
    }[request.param]
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("mine")
    return root


@pytest.mark.parametrize("use", [Store, require_store, require_usable, api.read])
def test_r36_a_foreign_folder_is_refused_and_stays_as_it_is(foreign, use):
    before = copies(foreign.parent)
    with pytest.raises(ConfigError, match="mine"):
        use(foreign)
    assert copies(foreign.parent) == before


@pytest.mark.parametrize("stage", ["gc", "verify", "status", "report", "evaluate"])
def test_r36_no_command_touches_a_foreign_folder(foreign, stage, run):
    before = copies(foreign.parent)
    code, text = run(f"stage={stage}", f"store={foreign}")
    assert code == 2
    assert "mine" in text
    assert copies(foreign) == {k[5:]: v for k, v in before.items() if k.startswith("mine/")}


@pytest.mark.parametrize("stage", ["gc", "verify", "status", "report"])
@pytest.mark.parametrize("there", [False, True], ids=["missing", "empty"])
def test_r36_a_folder_without_a_store_is_told_and_not_filled(tmp_path, stage, there, run):
    root = tmp_path / "none"
    if there:
        root.mkdir()
    code, text = run(f"stage={stage}", f"store={root}")
    assert (code, "no store" in text) == (2, True)
    assert not list(root.glob("*"))
    assert root.exists() == there


def test_r36_no_folder_at_all_is_refused(tmp_path, run, monkeypatch):
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert run("stage=gc", "store=")[0] == 2
    assert run("stage=gc", "store=.")[0] == 2
    assert not list(folder.iterdir())
    shutil.rmtree(folder)


def test_a_store_of_a_newer_layout_is_refused(store):
    (store.root / MARKER).write_text('{"schema_version": 99}')
    with pytest.raises(ConfigError, match="newer version"):
        Store(store.root)
