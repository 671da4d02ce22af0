"""Move decoder blocks to a device one at a time, for models that do not fit there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

# Each moved parameter or buffer with its original data.
Moved = list[tuple[Tensor, Tensor]]


@contextmanager
def moved_to(block: nn.Module, device: torch.device) -> Iterator[None]:
    """Move a block's parameters and buffers to `device` inside the context.

    Afterwards they are the same tensors as before. Changes made inside to moved data are lost.
    """
    moved = _move(block, device)
    try:
        yield
    finally:
        _move_back(moved)


def stream_blocks(blocks: nn.ModuleList, device: torch.device) -> None:
    """Register hooks that move each block to `device` for the length of its forward pass."""
    for block in blocks:
        visits: list[Moved] = []

        def arrive(module: nn.Module, _args: Any, visits: list[Moved] = visits) -> None:
            visits.append(_move(module, device))

        def leave(
            _module: nn.Module, _args: Any, _output: Any, visits: list[Moved] = visits
        ) -> None:
            _move_back(visits.pop())

        block.register_forward_pre_hook(arrive, prepend=True)
        block.register_forward_hook(leave, always_call=True)


def _move(block: nn.Module, device: torch.device) -> Moved:
    moved = []
    for tensor in (*block.parameters(), *block.buffers()):
        if tensor.device != device:
            moved.append((tensor, tensor.data))
            tensor.data = tensor.data.to(device, non_blocking=True)
    return moved


def _move_back(moved: Moved) -> None:
    for tensor, original in reversed(moved):
        tensor.data = original
