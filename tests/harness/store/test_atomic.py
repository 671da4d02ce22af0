"""Errors of the disk say what they are, and whose files they touched."""

import errno
import os

import pytest

from harness.errors import StoreError
from harness.store import atomic
from harness.store.atomic import read_patiently, store_errors


def failing(error, name=None):
    def work(root):
        with store_errors(root):
            raise OSError(error, os.strerror(error), *([] if name is None else [name]))

    return work


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (errno.ENOSPC, "free space"),
        (errno.EROFS, "choose a folder that can be written to"),
        (errno.EACCES, "make the folder writable"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EIO, "see to the disk"),
        (errno.ENOENT, "make the folder writable"),
    ],
)
def test_r41_an_error_of_the_store_names_its_own_remedy(tmp_path, error, remedy):
    for name in (None, str(tmp_path / "cells" / "k"), str(tmp_path)):
        with pytest.raises(StoreError, match=os.strerror(error)) as raised:
            failing(error, name)(tmp_path)
        assert remedy in str(raised.value)
        assert ("free space" in str(raised.value)) == (error == errno.ENOSPC)


def test_r41_an_error_with_another_file_is_not_told_as_one_of_the_store(tmp_path):
    with pytest.raises(PermissionError) as raised:
        failing(errno.EACCES, str(tmp_path / "elsewhere" / "text.txt"))(tmp_path / "store")
    assert raised.value.filename.endswith("text.txt")


def test_r36_what_cannot_be_read_for_a_moment_is_read_again(monkeypatch):
    monkeypatch.setattr(atomic, "PAUSE", 0.0)
    errors = [OSError(errno.ESTALE, "Stale file handle"), OSError(errno.EIO, "I/O error")]

    def read():
        if errors:
            raise errors.pop()
        return "content"

    assert read_patiently(read, "bank/k") == "content"


def test_r36_what_cannot_be_read_is_told_and_what_is_absent_is_absent(monkeypatch):
    monkeypatch.setattr(atomic, "PAUSE", 0.0)

    def stale():
        raise OSError(errno.ESTALE, "Stale file handle")

    with pytest.raises(StoreError, match="cannot read bank/k now: Stale file handle"):
        read_patiently(stale, "bank/k")

    def gone():
        raise FileNotFoundError(errno.ENOENT, "gone")

    with pytest.raises(FileNotFoundError):
        read_patiently(gone, "bank/k")
