"""A text of a user is read, or it is said which byte is wrong."""

import pytest

from harness.data.text_files import read_text_file
from harness.errors import ConfigError

TEXT = "a cup of café\nand ein Stück\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_marks_and_line_ends_are_no_part_of_the_text(tmp_path, encoding, newline):
    content = TEXT.replace("\n", newline).encode(encoding)
    if encoding == "utf-16-le":
        content = b"\xff\xfe" + content
    (tmp_path / "t").write_bytes(content)
    assert read_text_file(tmp_path / "t", "calibration.text") == TEXT


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (TEXT.encode("latin-1"), r"byte 12, in line 1, is 0xe9"),
        (b"one\ntwo \xff", r"byte 8, in line 2, is 0xff"),
        (b"\x1f\x8b\x08\x00gz", "no UTF-8 text: byte 1"),
        (b"half \x00 text", "NUL characters"),
        (b"\xff\xfea", "no UTF-8 text"),
    ],
)
def test_what_is_no_text_is_refused_with_the_place(tmp_path, content, said):
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(ConfigError, match=said) as error:
        read_text_file(tmp_path / "t", "suite.data")
    assert f"suite.data={tmp_path / 't'}" in str(error.value)


def test_r41_a_file_that_cannot_be_read_is_told_as_that(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read_text_file(tmp_path, "suite.data")
