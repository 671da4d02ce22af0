"""What code makes a quantizer's weights: part of the keys of what it makes."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import importlib.resources
import importlib.util
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources.abc import Traversable

GROUP = "luq.quantizers"  # entry points by which packages name their quantizers
QUANTIZERS = "luq.quantizers"  # modules that not every quantizer uses


def code_digest(cls: type) -> str:
    """Return a digest of the code that makes a quantizer's weights.

    That is `shared_code`, the modules of `luq.quantizers` that the class comes from or imports, and
    of a class of another distribution its whole package, with its version. Comments and layout are
    no code. The version, of a package with entry points of `GROUP`, stands for what is not Python,
    such as compiled extensions. Of a class that was typed in it is that of the class.
    """
    own, imported = _own_code(cls)
    inherited = {base.__module__ for base in cls.__mro__}
    return _digest([own.encode(), _luq_digest(imported | inherited).encode()])


@functools.cache
def shared_code() -> str:
    """Return a digest of luq's code but for its quantizers: what measures and packs for them."""
    parts = [(name, code) for name, code in _luq().items() if not _is_of_quantizers(name)]
    return _digest(part for name, code in parts for part in (name.encode(), code))


def _own_code(cls: type) -> tuple[str, frozenset[str]]:
    """Return a digest of code outside of luq that a class comes from, and what this imports."""
    module, _, _ = cls.__module__.rpartition(".")
    top = cls.__module__.split(".")[0]
    if top == "luq":
        return "", frozenset()
    name = module if top == "harness" else top  # in the harness, the package that runs workers
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # __main__ has none
        spec = None
    if spec is not None:
        return _package_code(name, spec.origin, is_package=bool(spec.submodule_search_locations))
    try:
        return _digest([inspect.getsource(cls).encode()]), frozenset()
    except (OSError, TypeError):
        return _digest([cls.__qualname__.encode()]), frozenset()


@functools.cache
def _package_code(
    name: str, _origin: str | None, *, is_package: bool
) -> tuple[str, frozenset[str]]:
    """Return `_own_code` of a package, read once a process for each place that it lies in."""
    if is_package:
        sources = dict(_sources(importlib.resources.files(name), ""))
    else:
        spec = importlib.util.find_spec(name)
        source = getattr(spec and spec.loader, "get_source", lambda _name: None)(name)
        sources = {"": _code((source or "").encode())}
    parts = [part for path, code in sources.items() for part in (path.encode(), code) if part]
    imported = frozenset(one for code in sources.values() for one in _imports(code))
    return _digest([*_versions(name), *parts]), imported


@functools.cache
def _luq_digest(roots: frozenset[str]) -> str:
    """Return a digest of `shared_code` and of quantizers' modules, with what these import."""
    modules, needed, left = _luq(), set(), list(roots)
    while left:
        name = left.pop()
        if name not in needed and name in modules and _is_of_quantizers(name):
            needed.add(name)
            left += _imports(modules[name])
    parts = [part for name in sorted(needed) for part in (name.encode(), modules[name])]
    return _digest([shared_code().encode(), *parts])


@functools.cache
def _luq() -> Mapping[str, bytes]:
    """Return the code of every module of luq by its name."""
    sources = _sources(importlib.resources.files("luq"), "luq")
    return {path[:-3].replace("/", ".").removesuffix(".__init__"): code for path, code in sources}


def _is_of_quantizers(name: str) -> bool:
    return name == QUANTIZERS or name.startswith(f"{QUANTIZERS}.")


def _imports(code: bytes) -> set[str]:
    """Return names of modules, and of what may be one, that code imports."""
    try:
        nodes = list(ast.walk(ast.parse(code)))
    except (SyntaxError, ValueError, RecursionError):
        return set()
    names = {one.name for node in nodes if isinstance(node, ast.Import) for one in node.names}
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            module = ".".join(filter(None, [QUANTIZERS if node.level else "", node.module]))
            names |= {module, *(f"{module}.{one.name}" for one in node.names)}
    return names


def _versions(package: str) -> list[bytes]:
    """Return name and version of each distribution that names quantizers of a package."""
    points = importlib.metadata.entry_points(group=GROUP)
    found = {point.dist for point in points if re.split(r"\W", point.value)[0] == package}
    return sorted({f"{dist.name} {dist.version}".encode() for dist in found if dist is not None})


def _code(source: bytes) -> bytes:
    """Return source without comments and layout; as it is, if it is no Python of this version."""
    try:
        return ast.unparse(ast.parse(source)).encode()
    except (SyntaxError, ValueError, RecursionError):
        return source


def _sources(folder: Traversable, path: str) -> Iterator[tuple[str, bytes]]:
    """Yield name and code of every Python file below a folder, in the order of names."""
    for entry in sorted(folder.iterdir(), key=lambda one: one.name):
        name = f"{path}/{entry.name}"
        if entry.is_dir():
            yield from _sources(entry, name)
        elif entry.name.endswith(".py"):
            yield name, _code(entry.read_bytes())


def _digest(parts: Iterable[bytes]) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(part + b"\0")
    return total.hexdigest()[:16]
