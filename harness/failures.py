"""What went wrong in a cell, whatever raised it: in a line, and whether it can end otherwise.

Data, scorers, quantizers and packages of others may raise anything. It is the failure of one cell,
and the sweep goes on; only what concerns the whole command passes.
"""

from __future__ import annotations

import hashlib
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import FrameType

from loguru import logger
from tenacity import RetryError

from harness.errors import CellError, ConfigError, RowError, StoreError

OURS = ("harness", "luq", "reports", "tasks")  # whose errors name what, where and what to do
# Code that is told something wrong by whoever calls it.
CALLED = frozenset(sys.stdlib_module_names) | {"torch", "numpy", "pandas", "PIL", "datasets"}
# What the next attempt may be spared: full disks and memory, networks, packages that are missing. A
# CellError counts errors of questions, and only those questions are asked again; a RowError stays.
MAY_PASS = (OSError, MemoryError, ImportError, CellError)
MAY_PASS_BY_NAME = ("OutOfMemoryError", "AcceleratorError")  # RuntimeErrors of torch
LONGEST = 400  # characters of a message


def require_of_a_cell(error: BaseException) -> None:
    """Raise again what concerns the whole command: a request that cannot be, the store, Ctrl-C.

    A library may have made another exception of an interrupt.
    """
    if isinstance(error, ConfigError | StoreError):
        raise error
    if any(isinstance(one, KeyboardInterrupt) for one in _chain(error)):
        raise error


def cause(error: BaseException) -> str:
    """An exception in a line; of one that is not ours also its type and which code raised it.

    Its traceback goes to the log of the store.
    """
    if type(error).__module__.split(".")[0] in OURS:
        if error.__cause__ is not None:
            logger.opt(exception=error).info("the error of a cell")
        return str(error)
    if isinstance(error, RetryError) and error.__cause__ is not None:
        return cause(error.__cause__)  # lmms-eval tries a few times whatever fails
    logger.opt(exception=error).info("the error of a cell")
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    message = f": {lines[0][:LONGEST]}" if lines else ""
    frames = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    blamed = [one for one in frames if _module(one[0]).split(".")[0] not in CALLED] or frames
    if not blamed:
        return f"{type(error).__name__}{message}"
    frame, line = blamed[-1]
    return (
        f"{type(error).__name__}{message} (in {frame.f_code.co_name} of {_module(frame)}, line"
        f" {line}; traceback in logs/harness.log)"
    )


def depends_on(error: BaseException, inputs: Iterable[str]) -> dict[str, str]:
    """The code that an exception went through and the data it may come from, as they are now.

    As long as they are the same, the same attempt fails in the same way.

    Args:
        error: The exception.
        inputs: Files and folders that the cell was made of; what is neither is left out.

    Returns:
        State by path; nothing for what may pass by itself.
    """
    chain = [one for one in _chain(error) if not isinstance(one, RowError)]
    if any(isinstance(one, MAY_PASS) or type(one).__name__ in MAY_PASS_BY_NAME for one in chain):
        return {}
    code = {
        frame.f_code.co_filename
        for one in chain
        for frame, _ in traceback.walk_tb(one.__traceback__)
    }
    paths = sorted({*code, *inputs})
    return {path: _state(Path(path)) for path in paths if Path(path).exists()}


def fails_again(depended_on: Mapping[str, str]) -> bool:
    """Whether nothing that a failure depended on has changed since `depends_on` was asked."""
    return bool(depended_on) and all(
        _state(Path(path)) == state for path, state in depended_on.items()
    )


def _state(path: Path) -> str:
    """What changes with the content: a digest of source code; size and time of data."""
    if not path.exists():
        return "gone"
    if path.suffix == ".py":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    files = sorted(one for one in path.iterdir() if one.is_file()) if path.is_dir() else [path]
    stats = [(one.name, one.stat()) for one in files]
    return repr([(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats])


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception with all that it was raised from or while handling."""
    left, seen = [error], set()
    while left:
        one = left.pop()
        if id(one) not in seen:
            seen.add(id(one))
            yield one
            left += [other for other in (one.__cause__, one.__context__) if other is not None]


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", frame.f_code.co_filename))
