"""What cannot be read now is neither damage nor garbage."""

import errno

import pytest

from harness.store import kinds
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

    def fail(*_):
        raise error

    monkeypatch.setattr(kinds, "read_checked", fail)
    assert not kinds.unreferenced(store.root, kinds.KINDS["results"])
