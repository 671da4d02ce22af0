"""A process that is killed at one of the steps that rename or remove something."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

STEPS = ("rename", "replace", "unlink", "rmdir")
KILLED = 77


def killed_at_each_step(work: Callable[[], object]) -> Iterator[int]:
    """Run `work` in a child that dies before its n-th step, for n = 0, 1, ... until one finishes.

    Yields:
        n after each killed child.
    """
    step = 0
    while _dies_at(step, work):
        yield step
        step += 1


def _dies_at(step: int, work: Callable[[], object]) -> bool:
    child = os.fork()
    if not child:
        code = 1
        try:
            left = [step]
            for name in STEPS:
                setattr(os, name, _counted(getattr(os, name), left))
            work()
            code = 0
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, KILLED), f"the child failed with {code}"
    return code == KILLED


def _counted(call: Callable[..., None], left: list[int]) -> Callable[..., None]:
    def counted(*args: object, **options: object) -> None:
        if not left[0]:
            os._exit(KILLED)
        left[0] -= 1
        call(*args, **options)

    return counted


def copies(root: Path) -> dict[str, bytes]:
    """Every file below a folder by its path."""
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}
