"""Several processes on one job, one for each GPU: `torchrun --nproc-per-node N -m harness ...`."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch.distributed

Value = TypeVar("Value")
RANK, WORLD_SIZE, LOCAL_RANK = "RANK", "WORLD_SIZE", "LOCAL_RANK"  # what torchrun sets


@functools.cache
def rank() -> int:
    """Rank of this process among those of the job; 0 where it is the only one."""
    return int(os.environ.get(RANK, "0"))


@functools.cache
def world_size() -> int:
    """Number of processes of the job."""
    return int(os.environ.get(WORLD_SIZE, "1"))


@functools.cache
def local_device() -> str:
    """The GPU of this process on its machine, such as `cuda:0`."""
    return f"cuda:{os.environ.get(LOCAL_RANK, '0')}"


def gather(value: Value) -> list[Value]:
    """The values of all processes, by rank; returns when every process has called it.

    Args:
        value: A small Python object that can be pickled.
    """
    if world_size() == 1:
        return [value]
    _join()
    values: list[Value | None] = [None] * world_size()
    torch.distributed.all_gather_object(values, value)
    return values  # type: ignore[return-value]  # filled by every rank


@contextmanager
def rank_zero_first() -> Iterator[None]:
    """Run the block in the process of rank 0 while the others wait, then in these.

    The others find in the store what the first one stored. Where it raises an error, they continue
    and meet the error themselves.
    """
    if rank() > 0:
        gather(None)
    try:
        yield
    finally:
        if rank() == 0:
            gather(None)


@contextmanager
def hidden() -> Iterator[None]:
    """Hide the other processes from libraries: lmms-eval would share out questions by itself, one
    by one, with padding.
    """
    rank(), world_size(), local_device()  # cached before they are hidden
    names = (RANK, WORLD_SIZE, LOCAL_RANK)
    values = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(values)


def shut_down() -> None:
    """Leave the process group; called at the end of a command."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _join() -> None:
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo")
