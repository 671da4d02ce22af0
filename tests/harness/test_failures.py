"""What is said of an exception that is not ours, and when it would come again."""

import importlib
import os
import sys

import pytest
import torch

from harness.errors import CellError, ConfigError, StoreError
from harness.failures import cause, depends_on, fails_again, require_of_a_cell
from luq.types import QuantizationError


def raised(function, *arguments):
    try:
        function(*arguments)
    except Exception as error:  # noqa: BLE001 (whatever it is)
        return error
    raise AssertionError("nothing was raised")


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """A module of somebody else, and its file."""
    file = tmp_path / "somebodys_code.py"
    file.write_text("def odd(row):\n    return row['gold'].lower()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield importlib.import_module("somebodys_code"), file
    sys.modules.pop("somebodys_code")


def test_the_cause_names_the_kind_of_error_and_the_code_that_is_to_blame(foreign):
    module, _ = foreign
    assert cause(raised(module.odd, {})).startswith(
        "KeyError: 'gold' (in odd of somebodys_code, line 2;"
    )


def test_code_of_libraries_that_was_told_something_wrong_is_not_blamed():
    def multiply():
        torch.nn.functional.linear(torch.zeros(2, 3), torch.zeros(4, 5))

    assert "in multiply of tests.harness.test_failures" in cause(raised(multiply))


@pytest.mark.parametrize("error", [CellError("half a pair"), QuantizationError("block 3: NaN")])
def test_an_error_of_ours_is_told_as_it_is(error):
    assert cause(error) == str(error)


def test_a_message_of_many_lines_is_told_by_its_first():
    said = cause(raised(lambda: (_ for _ in ()).throw(ValueError("\n first \nsecond"))))
    assert said.startswith("ValueError: first (")
    assert "\n" not in cause(RuntimeError(""))
    assert len(cause(ValueError("x" * 10_000))) < 500


def interrupted_inside():
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        raise RuntimeError("worker stopped") from None


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("k is 99"),
        StoreError("disk full"),
        KeyboardInterrupt(),
        raised(interrupted_inside),
    ],
    ids=["request", "store", "interrupt", "interrupt told as another error"],
)
def test_what_concerns_the_whole_command_is_no_failure_of_a_cell(error):
    with pytest.raises(type(error)):
        require_of_a_cell(error)
    require_of_a_cell(ValueError("of a row"))
    require_of_a_cell(SystemExit(3))


def test_a_failure_would_come_again_until_the_code_it_went_through_changes(foreign):
    module, file = foreign
    state = depends_on(raised(module.odd, {}), [])
    assert str(file) in state
    assert fails_again(state)
    file.write_text(file.read_text() + "# mended\n")
    assert not fails_again(state)


def test_a_failure_would_come_again_until_the_data_changes_or_goes(tmp_path):
    text, folder = tmp_path / "text.txt", tmp_path / "pictures"
    text.write_text("words")
    folder.mkdir()
    (folder / "1.png").write_bytes(b"picture")
    state = depends_on(raised(int, "x"), [str(text), str(folder), "wikitext2"])
    assert fails_again(state)
    (folder / "2.png").write_bytes(b"picture")
    assert not fails_again(state)
    state = depends_on(raised(int, "x"), [str(text)])
    os.utime(text, ns=(1, 1))
    assert not fails_again(state)
    state = depends_on(raised(int, "x"), [str(text)])
    text.unlink()
    assert not fails_again(state)


@pytest.mark.parametrize(
    "error",
    [
        OSError("disk"),
        ConnectionResetError("network"),
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        ModuleNotFoundError("no package"),
        CellError("3 of 100 questions raised an error"),
    ],
)
def test_what_may_pass_by_itself_is_always_tried_again(error):
    def wrapped():
        try:
            raise error
        except type(error) as cause_:
            raise QuantizationError("block 2") from cause_

    assert not fails_again(depends_on(raised(wrapped), []))
