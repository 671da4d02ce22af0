"""Run decoder blocks, and what a method makes of a block's weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeGuard

import torch
from torch import Tensor, nn

from luq.decoder.families import Family
from luq.types import QuantizedWeight, Quantizer

BATCH_TOKENS = 4096

Watcher = Callable[[tuple[Any, ...], dict[str, Any]], None]


@dataclass(frozen=True)
class BlockInput:
    """What one calibration sequence, or a batch of them, gives a decoder block.

    Attributes:
        state: (sequences, tokens, hidden) residual stream.
        context: the block's other keyword arguments.
        device: where the block computes, if not where `state` is; the output is moved back.
    """

    state: Tensor
    context: Mapping[str, Any] = field(default_factory=dict)
    device: torch.device | None = None


@dataclass(frozen=True)
class BlockWeights:
    """The quantized weights of one decoder block.

    Attributes:
        linears: packed weight of each linear by its name in the block.
        changed: other parameters that change with them (AWQ's norms and biases), by dotted name.
    """

    linears: dict[str, QuantizedWeight]
    changed: dict[str, Tensor] = field(default_factory=dict)


class BlockQuantizer(Quantizer, Protocol):
    """A quantizer that needs a whole block and its calibration inputs."""

    @property
    def needs_inputs(self) -> bool:
        """Whether `quantize_block` is to be used in place of a call for each weight."""
        ...

    def quantize_block(
        self, block: nn.Module, family: Family, inputs: Sequence[BlockInput]
    ) -> BlockWeights:
        """Quantize every linear of a block. The block itself is not changed.

        Raises:
            QuantizationError: Names the linear.
        """
        ...


def needs_inputs(quantizer: Quantizer) -> TypeGuard[BlockQuantizer]:
    """Return whether the method needs a block with its inputs rather than weight and statistics."""
    return bool(getattr(quantizer, "needs_inputs", False))


def needs_calibration(quantizer: Quantizer) -> bool:
    """Return whether the result depends on calibration data."""
    return needs_inputs(quantizer) or bool(getattr(quantizer, "needs_stats", False))


def run_block(block: nn.Module, block_input: BlockInput) -> Tensor:
    """Return the residual stream after the block, (sequences, tokens, hidden)."""
    state, device = block_input.state, block_input.device
    result = block(state if device is None else state.to(device), **block_input.context)
    output: Tensor = result[0] if isinstance(result, tuple) else result
    return output.to(state.device)


def batched(inputs: Sequence[BlockInput], tokens: int = BATCH_TOKENS) -> list[BlockInput]:
    """Batch sequences of one length whose other arguments are equal.

    Args:
        inputs: one sequence each.
        tokens: largest number of tokens in a batch of more than one sequence.
    """
    batches: list[list[BlockInput]] = []
    for block_input in inputs:
        size = block_input.state.shape[1]
        fitting = (
            batch
            for batch in batches
            if (len(batch) + 1) * size <= tokens and _can_share_batch(batch[0], block_input)
        )
        batch = next(fitting, None)
        if batch is None:
            batches.append([block_input])
        else:
            batch.append(block_input)
    return [
        BlockInput(torch.cat([one.state for one in batch]), batch[0].context, batch[0].device)
        for batch in batches
    ]


def _can_share_batch(first: BlockInput, second: BlockInput) -> bool:
    return first.state.shape == second.state.shape and _equal(
        dict(first.context), dict(second.context)
    )


def _equal(first: Any, second: Any) -> bool:
    """Compare arguments of a block; a tensor with more than one sequence is equal to none."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return len(first) == 1 and torch.equal(first, second)
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(
            _equal(value, second[name]) for name, value in first.items()
        )
    if isinstance(first, tuple | list) and isinstance(second, tuple | list):
        return len(first) == len(second) and all(map(_equal, first, second))
    return first is second or (
        not isinstance(first, Tensor) and not isinstance(second, Tensor) and bool(first == second)
    )


def watch_inputs(
    block: nn.Module, inputs: Sequence[BlockInput], watchers: Mapping[nn.Module, Watcher]
) -> None:
    """Run every input through the block and pass each module's arguments to its watcher.

    Args:
        block: the decoder block.
        inputs: what it is run on.
        watchers: for modules of the block, a function of their (args, kwargs).
    """
    with ExitStack() as stack:
        for module, watcher in watchers.items():
            show = lambda _module, args, kwargs, watcher=watcher: watcher(args, kwargs)  # noqa: E731
            stack.callback(module.register_forward_pre_hook(show, with_kwargs=True).remove)
        for block_input in inputs:
            run_block(block, block_input)
