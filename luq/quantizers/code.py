"""What code a quantizer of another package is: part of the keys of what it makes."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import importlib.resources
import importlib.util
import inspect
import re
from collections.abc import Iterable, Iterator
from importlib.resources.abc import Traversable

GROUP = "luq.quantizers"  # entry points by which packages name their quantizers
OURS = ("luq", "harness")  # packages whose keys have no digest: their results are tested


def code_digest(cls: type) -> str | None:
    """Return a digest of the package that a class comes from: its version and its Python code.

    Comments and layout are no code. The version, of a package with entry points of `GROUP`, stands
    for what is not Python, such as compiled extensions. Of a class that was typed in it is that of
    the class. None for classes of luq and the harness.
    """
    top = cls.__module__.split(".")[0]
    if top in OURS:
        return None
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # __main__ has none
        spec = None
    if spec is None:
        try:
            return _digest([inspect.getsource(cls).encode()])
        except (OSError, TypeError):
            return _digest([cls.__qualname__.encode()])
    return _package_digest(top, spec.origin, is_package=bool(spec.submodule_search_locations))


@functools.cache
def _package_digest(top: str, _origin: str | None, *, is_package: bool) -> str:
    """Return the digest of a package, read once a process for each place that it lies in."""
    if is_package:
        return _digest([*_versions(top), *_sources(importlib.resources.files(top), "")])
    spec = importlib.util.find_spec(top)
    source = getattr(spec and spec.loader, "get_source", lambda _name: None)(top)
    return _digest([*_versions(top), _code((source or "").encode())])


def _versions(top: str) -> list[bytes]:
    """Return name and version of each distribution that names quantizers of a package."""
    points = importlib.metadata.entry_points(group=GROUP)
    found = {point.dist for point in points if re.split(r"\W", point.value)[0] == top}
    return sorted({f"{dist.name} {dist.version}".encode() for dist in found if dist is not None})


def _code(source: bytes) -> bytes:
    """Return source without comments and layout; as it is, if it is no Python of this version."""
    try:
        return ast.unparse(ast.parse(source)).encode()
    except (SyntaxError, ValueError, RecursionError):
        return source


def _sources(folder: Traversable, path: str) -> Iterator[bytes]:
    """Yield name and code of every Python file below a folder, in the order of names."""
    for entry in sorted(folder.iterdir(), key=lambda one: one.name):
        name = f"{path}/{entry.name}"
        if entry.is_dir():
            yield from _sources(entry, name)
        elif entry.name.endswith(".py"):
            yield name.encode()
            yield _code(entry.read_bytes())


def _digest(parts: Iterable[bytes]) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(part + b"\0")
    return total.hexdigest()[:16]
