"""Decoder blocks that visit a device one at a time, so that a model need not fit there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Visit = list[tuple[Tensor, Tensor]]


@contextmanager
def visiting(block: nn.Module, device: torch.device) -> Iterator[None]:
    """Inside, the block's parameters and buffers are on `device`; afterwards they are where, and
    what, they were.
    """
    moved = _arrive(block, device)
    try:
        yield
    finally:
        _leave(moved)


def stream_blocks(blocks: nn.ModuleList, device: torch.device) -> None:
    """From now on each block comes to `device` for its forward pass and leaves it again.

    Where it already lives there, nothing moves.
    """
    for block in blocks:
        visits: list[Visit] = []

        def arrive(module: nn.Module, _args: Any, visits: list[Visit] = visits) -> None:
            visits.append(_arrive(module, device))

        def leave(
            _module: nn.Module, _args: Any, _output: Any, visits: list[Visit] = visits
        ) -> None:
            _leave(visits.pop())

        block.register_forward_pre_hook(arrive, prepend=True)
        block.register_forward_hook(leave, always_call=True)


def _arrive(block: nn.Module, device: torch.device) -> Visit:
    moved = []
    for tensor in (*block.parameters(), *block.buffers()):
        if tensor.device != device:
            moved.append((tensor, tensor.data))
            tensor.data = tensor.data.to(device, non_blocking=True)
    return moved


def _leave(moved: Visit) -> None:
    for tensor, home in reversed(moved):
        tensor.data = home
