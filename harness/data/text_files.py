"""Text files of users, with errors that say which byte is wrong."""

from __future__ import annotations

import codecs
from pathlib import Path

from harness.errors import ConfigError

WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text_file(path: Path, key: str) -> str:
    """The text of a UTF-8 file, or of a UTF-16 file that begins with its mark.

    Line ends become single newlines.

    Args:
        path: The file.
        key: Of the configuration that names it, for messages.

    Raises:
        ConfigError: It cannot be read, or is no text.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{key}={path} cannot be read: {error.strerror or error}") from error
    try:
        text = content.decode("utf-16" if content.startswith(WIDE) else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(
            f"{key}={path} is no UTF-8 text: byte {error.start}, in line {line}, is"
            f" 0x{content[error.start]:02x}. Convert the file, for instance with"
            " `iconv -f latin1 -t utf-8`"
        ) from error
    if "\0" in text:
        raise ConfigError(f"{key}={path} is no text: it holds NUL characters")
    return text.replace("\r\n", "\n").replace("\r", "\n")
