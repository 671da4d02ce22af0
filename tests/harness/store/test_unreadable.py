"""What cannot be read now is neither damage nor garbage."""

import dataclasses
import errno

import pytest
import torch

from harness.errors import StoreError
from harness.store import answers, atomic, kinds
from harness.store import store as stores
from harness.store.answers import AnswerLog
from reports.records.schema import NewerSchema


@pytest.mark.parametrize(
    "error",
    [OSError(code, "later") for code in (errno.EIO, errno.ESTALE, errno.EACCES)]
    + [NewerSchema("newer")],
)
def test_r36_nothing_is_unreferenced_while_a_referring_entry_cannot_be_read(
    store, monkeypatch, error
):
    for kind in ("cells", "results"):
        store.cached(kind, "key", lambda: [1])
    # A damaged cell names nothing.
    assert kinds.unreferenced(store.root, kinds.KINDS["results"])

    def fail(*_, **_options):
        raise error

    monkeypatch.setattr(kinds, "read_checked", fail)
    assert not kinds.unreferenced(store.root, kinds.KINDS["results"])


@pytest.fixture
def flaky(monkeypatch):
    """Makes the next reads of a function fail as a disk does that is away for a moment."""
    monkeypatch.setattr(atomic, "PAUSE", 0.0)

    def install(module, name, times):
        real, left = getattr(module, name), [times]

        def read(*arguments, **options):
            if left[0]:
                left[0] -= 1
                raise OSError(errno.ESTALE, "Stale file handle")
            return real(*arguments, **options)

        monkeypatch.setattr(module, name, read)

    return install


READERS = [("scores", "sealed_text"), ("bank", "read_verified")]


@pytest.mark.parametrize(("kind", "reader"), READERS)
def test_r36_an_entry_that_cannot_be_read_for_a_moment_is_read_again(store, flaky, kind, reader):
    filled(store, kind)
    flaky(stores, reader, 2)
    assert loaded(store, kind) is not None
    assert store.has(kind, "key")


@pytest.mark.parametrize(("kind", "reader"), READERS)
def test_r36_an_entry_that_cannot_be_read_stays_and_is_told(store, flaky, kind, reader):
    filled(store, kind)
    flaky(stores, reader, 99)
    with pytest.raises(StoreError, match=r"cannot read .* now: Stale file handle"):
        loaded(store, kind)
    assert store.has(kind, "key")
    assert not (store.root / "corrupt").exists()


def filled(store, kind):
    if kind == "scores":
        store.cached(kind, "key", lambda: [1])
    else:
        store.save_tensors(kind, "key", {"a": torch.ones(2)}, {})


def loaded(store, kind):
    return store.load_value(kind, "key") if kind == "scores" else store.load_tensors(kind, "key")


def test_r36_answers_that_cannot_be_read_stay_and_are_told(store, flaky):
    log = AnswerLog(store, "key")
    log.append({"q": {"response": "yes"}})
    flaky(answers, "strict_json", 2)
    assert log.load() == {"q": {"response": "yes"}}
    flaky(answers, "strict_json", 99)
    with pytest.raises(StoreError, match="cannot read"):
        log.load()
    assert [path.suffix for path in log.folder.iterdir()] == [".json"]


def test_r36_verify_tells_what_it_cannot_read_and_moves_nothing(run, store, monkeypatch):
    filled(store, "scores")

    def fail(_entry):
        raise OSError(errno.EIO, "Input/output error")

    unreadable = dataclasses.replace(kinds.KINDS["scores"], read=fail)
    monkeypatch.setitem(kinds.KINDS, "scores", unreadable)
    code, text = run("stage=verify", f"store={store.root}")
    assert code == 1
    assert "UNREADABLE" in text
    assert "Input/output error; it stays where it is" in text
    assert store.has("scores", "key")
