"""Task files of lmms-eval and lm-eval, read as data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


class _FunctionNames(yaml.SafeLoader):
    """Reads `!function NAME` as the text NAME: nothing is imported."""


def _name(loader: Any, node: Any) -> Any:
    return loader.construct_scalar(node)


_FunctionNames.add_constructor("!function", _name)


def read_task_file(path: Path) -> dict[str, Any]:
    """The content of a task file; functions that it names stay names."""
    content: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), _FunctionNames)
    return content
