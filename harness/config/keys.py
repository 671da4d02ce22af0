"""Every key of the configuration with its type, default and help, read from the schema's source.

Reading the source instead of importing it keeps the help fast, and finds the text below each key.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SCHEMA = Path(__file__).with_name("schema.py")


@dataclass(frozen=True)
class Key:
    """One key.

    Attributes:
        name: As it is written: `calibration.alpha`.
        type: Of its value, as Python writes it.
        default: As Python writes it; "" where another file of the configuration gives it.
        help: What it means.
    """

    name: str
    type: str
    default: str
    help: str


@dataclass(frozen=True)
class Group:
    """Keys that belong together: `calibration`, or "" for those without a prefix."""

    name: str
    summary: str
    keys: tuple[Key, ...]


def read_groups() -> list[Group]:
    """All groups, first the keys without a prefix."""
    tree = ast.parse(SCHEMA.read_text(encoding="utf-8"))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    root = list(_fields(classes["Config"]))
    groups = [Group("", _docstring(classes["Config"]), tuple(_keys("", root, classes)))]
    for field, _ in root:
        if (node := classes.get(ast.unparse(field.annotation))) is not None:
            name = _name(field)
            keys = tuple(_keys(f"{name}.", list(_fields(node)), classes))
            groups.append(Group(name, _docstring(node), keys))
    return groups


Field = tuple[ast.AnnAssign, str]


def _fields(node: ast.ClassDef) -> Iterator[Field]:
    """The fields of a dataclass with the text below each."""
    for statement, following in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign):
            yield statement, _text(following)


def _keys(prefix: str, fields: list[Field], classes: dict[str, ast.ClassDef]) -> Iterator[Key]:
    for field, text in fields:
        kind = ast.unparse(field.annotation)
        if kind not in classes:
            yield Key(f"{prefix}{_name(field)}", kind, _default(field), text)


def _name(field: ast.AnnAssign) -> str:
    assert isinstance(field.target, ast.Name)
    return field.target.id


def _default(field: ast.AnnAssign) -> str:
    value = field.value
    if isinstance(value, ast.Call):  # field(default_factory=...)
        factory = ast.unparse(value.keywords[0].value)
        return {"list": "[]", "dict": "{}"}.get(factory, factory.removeprefix("lambda: "))
    text = "" if value is None else ast.unparse(value)
    return {"None": "null", "MISSING": "", "True": "true", "False": "false"}.get(text, text)


def _docstring(node: ast.ClassDef) -> str:
    return " ".join((ast.get_docstring(node) or "").split())


def _text(statement: ast.stmt | None) -> str:
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        value = statement.value.value
        return " ".join(inspect.cleandoc(value).split()) if isinstance(value, str) else ""
    return ""
