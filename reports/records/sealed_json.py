"""JSON from files that may have been damaged or made with ill intent."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

SEAL = ".sha256"


def seal(path: Path, entry: str) -> None:
    """Write the SHA-256 of a file next to it, as NAME.sha256, and whose file it is.

    Args:
        path: The file.
        entry: The kind and the key of the entry that it is written for: `cells/KEY`.
    """
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_name(path.name + SEAL).write_text(f"{content} {entry}")


def sealed_text(path: Path, *, required: bool = False) -> str:
    """Read a file of an entry and compare it with its seal.

    Args:
        path: The file, in the folder KIND/KEY.
        required: whether a file without a seal is refused. Seals of version 0.1 do not say whose
            file it is.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: its content is not what was sealed, or it was sealed for another entry.
    """
    content, seal_path = path.read_bytes(), path.with_name(path.name + SEAL)
    try:
        sealed, _, entry = seal_path.read_text().strip().partition(" ")
    except FileNotFoundError:
        if required:
            raise ValueError(f"{path.name} has no seal, {seal_path.name}") from None
        return content.decode()
    if sealed != hashlib.sha256(content).hexdigest():
        raise ValueError(f"{path.name} does not have the SHA-256 that was written with it")
    if entry and entry != f"{path.parent.parent.name}/{path.parent.name}":
        raise ValueError(f"{path.name} was written for {entry}")
    return content.decode()


def strict_json(text: str | bytes) -> Any:
    """Parse a JSON text.

    Raises:
        ValueError: it is no JSON. Nothing else is ever raised: NaN, infinities, a key that an
            object has twice and nesting deeper than Python can follow are refused in the same way.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique_keys)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(
            f"{next(n for n in names if names.count(n) > 1)!r} is a key twice in one object"
        )
    return values
