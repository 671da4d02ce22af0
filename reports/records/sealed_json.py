"""JSON from files that may have been damaged or made with ill intent."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

SEAL = ".sha256"


def seal(path: Path) -> None:
    """Write the SHA-256 of a file beside it."""
    path.with_name(path.name + SEAL).write_text(hashlib.sha256(path.read_bytes()).hexdigest())


def sealed_text(path: Path) -> str:
    """The text of a file.

    Raises ValueError where it is not the one that was sealed, OSError where it is not there; files
    of earlier versions have no seal and are taken as they are.
    """
    content, beside = path.read_bytes(), path.with_name(path.name + SEAL)
    if beside.exists() and beside.read_text().strip() != hashlib.sha256(content).hexdigest():
        raise ValueError(f"{path.name} does not have the SHA-256 that was written with it")
    return content.decode()


def strict_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises ValueError, and nothing else, for what is no JSON: also for NaN and infinities, for a key
    that stands twice in an object, and for nesting deeper than Python can follow.
    """
    try:
        return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_each_key_once)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(
            f"{next(n for n in names if names.count(n) > 1)!r} stands twice in one object"
        )
    return found
