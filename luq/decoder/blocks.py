"""A decoder block at work: what goes in, what comes out, and what a method makes of its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from luq.decoder.families import Family
from luq.types import QuantizedWeight, Quantizer

BATCH_TOKENS = 4096


@dataclass(frozen=True)
class BlockInput:
    """One calibration sequence in front of a block. state:

    (1, tokens, hidden) residual stream; context: the block's other arguments. device: where the
    block works on it, None where the state already is; its output rests where the state does.
    """

    state: Tensor
    context: Mapping[str, Any] = field(default_factory=dict)
    device: torch.device | None = None


@dataclass(frozen=True)
class BlockWeights:
    """A block's quantized weights by linear, and the parameters that had to change with them (AWQ's
    norms and biases) by dotted name.
    """

    linears: dict[str, QuantizedWeight]
    changed: dict[str, Tensor] = field(default_factory=dict)


class BlockQuantizer(Protocol):
    """A method that must see a whole block at work, for which `needs_inputs` is true.

    It works on a copy: the block stays as it is.
    """

    method: ClassVar[str]

    @property
    def needs_inputs(self) -> bool: ...
    def quantize_block(
        self, block: nn.Module, family: Family, inputs: Sequence[BlockInput]
    ) -> BlockWeights: ...


def needs_inputs(quantizer: Quantizer | BlockQuantizer) -> bool:
    """Whether the method works on a block with its calibration inputs rather than on one weight and
    its statistics.
    """
    return bool(getattr(quantizer, "needs_inputs", False))


def needs_calibration(quantizer: Quantizer | BlockQuantizer) -> bool:
    """Whether the result depends on the calibration data at all."""
    return needs_inputs(quantizer) or bool(getattr(quantizer, "needs_stats", False))


def run_block(block: nn.Module, given: BlockInput) -> Tensor:
    """The residual stream behind the block: (1, tokens, hidden)."""
    result = block(
        given.state if given.device is None else given.state.to(given.device), **given.context
    )
    output: Tensor = result[0] if isinstance(result, tuple) else result
    return output.to(given.state.device)


def batched(inputs: Sequence[BlockInput], tokens: int = BATCH_TOKENS) -> list[BlockInput]:
    """The same sequences in fewer runs: those of one length and with equal further arguments
    together, up to `tokens` a batch.
    """
    batches: list[list[BlockInput]] = []
    for given in inputs:
        size = given.state.shape[1]
        fitting = (
            batch
            for batch in batches
            if (len(batch) + 1) * size <= tokens and _alike(batch[0], given)
        )
        batch = next(fitting, None)
        if batch is None:
            batches.append([given])
        else:
            batch.append(given)
    return [
        BlockInput(torch.cat([given.state for given in batch]), batch[0].context, batch[0].device)
        for batch in batches
    ]


def _alike(first: BlockInput, second: BlockInput) -> bool:
    return first.state.shape == second.state.shape and _equal(
        dict(first.context), dict(second.context)
    )


def _equal(first: Any, second: Any) -> bool:
    """Equal arguments of a block; a tensor that holds more than one sequence is equal to none."""
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
    block: nn.Module,
    inputs: Sequence[BlockInput],
    watchers: Mapping[nn.Module, Callable[[tuple[Any, ...], dict[str, Any]], None]],
) -> None:
    """Run every sequence through the block and show each watched module's (args, kwargs) to its
    watcher.
    """
    with ExitStack() as stack:
        for module, watcher in watchers.items():
            show = lambda _module, args, kwargs, watcher=watcher: watcher(args, kwargs)  # noqa: E731
            stack.callback(module.register_forward_pre_hook(show, with_kwargs=True).remove)
        for given in inputs:
            run_block(block, given)
