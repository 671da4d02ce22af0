"""A decoder block at work: what goes in, what comes out, and what a method makes of its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from luq.families import Family
from luq.types import QuantizedWeight, Quantizer


@dataclass(frozen=True)
class BlockInput:
    """One calibration sequence in front of a block. state: (1, tokens, hidden) residual stream; context: the block's other arguments."""

    state: Tensor
    context: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BlockWeights:
    """A block's quantized weights by linear, and the parameters that had to change with them (AWQ's norms and biases) by dotted name."""

    linears: dict[str, QuantizedWeight]
    changed: dict[str, Tensor] = field(default_factory=dict)


class BlockQuantizer(Protocol):
    """A method that must see a whole block at work, for which `needs_inputs` is true. It works on a copy: the block stays as it is."""

    method: ClassVar[str]

    @property
    def needs_inputs(self) -> bool: ...
    def quantize_block(self, block: nn.Module, family: Family, inputs: Sequence[BlockInput]) -> BlockWeights: ...


def needs_inputs(quantizer: Quantizer | BlockQuantizer) -> bool:
    """Whether the method works on a block with its calibration inputs rather than on one weight and its statistics."""
    return bool(getattr(quantizer, "needs_inputs", False))


def needs_calibration(quantizer: Quantizer | BlockQuantizer) -> bool:
    """Whether the result depends on the calibration data at all."""
    return needs_inputs(quantizer) or bool(getattr(quantizer, "needs_stats", False))


def run_block(block: nn.Module, given: BlockInput) -> Tensor:
    """The residual stream behind the block: (1, tokens, hidden)."""
    result = block(given.state, **given.context)
    output: Tensor = result[0] if isinstance(result, tuple) else result
    return output


def watch_inputs(
    block: nn.Module, inputs: Sequence[BlockInput], watchers: Mapping[nn.Module, Callable[[tuple[Any, ...], dict[str, Any]], None]]
) -> None:
    """Run every sequence through the block and show each watched module's (args, kwargs) to its watcher."""
    with ExitStack() as stack:
        for module, watcher in watchers.items():
            show = lambda _module, args, kwargs, watcher=watcher: watcher(args, kwargs)  # noqa: E731
            stack.callback(module.register_forward_pre_hook(show, with_kwargs=True).remove)
        for given in inputs:
            run_block(block, given)
