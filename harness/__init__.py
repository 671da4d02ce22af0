"""Evaluation of quantized multimodal language models inside lmms-eval.

From Python, `evaluate` runs what `python -m harness` runs, and `read` gives what a store holds as
tables; both in `harness.api`.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"
__all__ = ["__version__", "evaluate", "read"]

_ROOT = Path(__file__).resolve().parent.parent


def _claim_package(name: str) -> None:
    """Load one of our own top-level packages from where it lies beside this one.

    Its name is a plain word, and the working directory or PYTHONPATH may hold a module of that name
    too, which Python would take first.

    Raises:
        ImportError: Where such a module has been imported already.
    """
    file = _ROOT / name / "__init__.py"
    loaded = sys.modules.get(name)
    if loaded is None:
        spec = importlib.util.spec_from_file_location(
            name, file, submodule_search_locations=[str(file.parent)]
        )
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    elif Path(loaded.__file__ or "").resolve() != file:
        raise ImportError(
            f"harness needs its own package {name!r} ({file.parent}), but this process has "
            f"imported another module of that name ({loaded.__file__}); rename that one, or use "
            "harness in a process of its own"
        )


for _name in ("reports", "tasks"):
    _claim_package(_name)


if TYPE_CHECKING:
    from harness.api import evaluate, read


def __getattr__(name: str) -> Any:
    """`evaluate` and `read` are imported when they are used: they need the heavy libraries."""
    if name in ("evaluate", "read"):
        from harness import api

        return getattr(api, name)
    raise AttributeError(f"module 'harness' has no attribute {name!r}")
