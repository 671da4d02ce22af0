"""Several processes on one job, one for each GPU:

`torchrun --nproc-per-node N -m harness ...` starts them, this is how they agree.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.distributed


@functools.cache
def rank() -> int:
    """Of this process among those of the job; 0 where it is the only one."""
    return int(os.environ.get("RANK", "0"))


@functools.cache
def count() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


@functools.cache
def device_of_rank() -> str:
    """The GPU of this process on its machine."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"


def gathered(value: Any) -> list[Any]:
    """What every process gave, by rank.

    Returns when all have; values are small Python objects, so the CPU's back end serves.
    """
    if count() == 1:
        return [value]
    _join()
    found: list[Any] = [None] * count()
    torch.distributed.all_gather_object(found, value)
    return found


@contextmanager
def first_alone() -> Iterator[None]:
    """The first process does what stands inside while the others wait; then these do it, and find
    in the store what it left. An error of the first is not theirs: they meet it themselves.
    """
    if rank() > 0:
        gathered(None)
    try:
        yield
    finally:
        if rank() == 0:
            gathered(None)


@contextmanager
def unseen() -> Iterator[None]:
    """Inside, libraries that look for other processes find none: lmms-eval would share out
    questions by itself, one by one, and pad.
    """
    rank(), count(), device_of_rank()
    hidden = {
        name: os.environ.pop(name)
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        if name in os.environ
    }
    try:
        yield
    finally:
        os.environ.update(hidden)


def _join() -> None:
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo")


def leave() -> None:
    """At the end of a command."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
