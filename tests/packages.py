"""Packages that a page of the documentation describes, laid out as pip installs them."""

from __future__ import annotations

import functools
import re
import shlex
import tomllib
from pathlib import Path

from luq.quantizers import registry

FILE = re.compile(r"^`([^`\n]+)`:\n\n```\w*\n(.*?)^```$", re.M | re.S)
COMMAND = re.compile(r"^python -m harness (.*)$", re.M)


def files_of(page: Path) -> dict[str, str]:
    """Content by path: blocks of code whose line before is the path in backticks and a colon."""
    files = dict(FILE.findall(page.read_text(encoding="utf-8")))
    assert files, f"{page} shows no file"
    return files


def commands_of(page: Path) -> list[list[str]]:
    """The arguments of each `python -m harness` of a page."""
    text = re.sub(r" *\\\n *", " ", page.read_text(encoding="utf-8"))
    return [shlex.split(command, comments=True) for command in COMMAND.findall(text)]


def install(files: dict[str, str], folder: Path, monkeypatch) -> None:
    """Write the files into a folder on the path, with the entry points of their pyproject.toml."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    project = tomllib.loads(files["pyproject.toml"])["project"]
    install_entry_points(project["name"], project["entry-points"], folder, monkeypatch)


def install_entry_points(
    name: str, groups: dict[str, dict[str, str]], folder: Path, monkeypatch
) -> None:
    """Write the metadata of a package with these entry points by group and name."""
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = []
    for group, points in groups.items():
        lines += [f"[{group}]", *(f"{point} = {value}" for point, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(str(folder))
    # What was registered before in this process must not hide the package, nor it what comes after.
    fresh = functools.cache(registry._import_entry_points.__wrapped__)
    monkeypatch.setattr(registry, "QUANTIZERS", registry.quantizer_classes())
    monkeypatch.setattr(registry, "_import_entry_points", fresh)
