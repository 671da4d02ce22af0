"""lmms-eval's and lm-eval's task files as data: the functions that they name stay names, nothing is
imported.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


class _Plain(yaml.SafeLoader):
    """`!function NAME` is read as its name."""


def _name(loader: Any, node: Any) -> Any:
    return loader.construct_scalar(node)


_Plain.add_constructor("!function", _name)


def read_task_file(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.load(path.read_text(), _Plain)
    return found
