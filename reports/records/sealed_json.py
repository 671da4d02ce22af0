"""JSON from files that may have been damaged or made with ill intent."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

SEAL = ".sha256"


def seal(path: Path) -> None:
    """Write the SHA-256 of a file next to it, as NAME.sha256."""
    path.with_name(path.name + SEAL).write_text(hashlib.sha256(path.read_bytes()).hexdigest())


def sealed_text(path: Path) -> str:
    """Read a file and compare it with its seal.

    Files of earlier versions have no seal and are taken as they are.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: its content is not what was sealed.
    """
    content, seal_path = path.read_bytes(), path.with_name(path.name + SEAL)
    if seal_path.exists() and seal_path.read_text().strip() != hashlib.sha256(content).hexdigest():
        raise ValueError(f"{path.name} does not have the SHA-256 that was written with it")
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
