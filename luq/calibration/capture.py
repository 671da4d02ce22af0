"""One pass over the decoder, block by block: the inputs of every linear as Hessians, the outputs of
every block as they stream by.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from luq.calibration.hessian import HessianSum
from luq.decoder.blocks import BlockInput, run_block
from luq.decoder.families import Family, block_linears, decoder_blocks
from luq.types import LayerStats, QuantizationError


class _Reached(Exception):
    """Stops the forward pass at the first decoder block."""


@dataclass(frozen=True)
class BlockCapture:
    """index: of the block. stats: by linear name, one entry a group of sequences. inputs: what each
    sequence gives the block. outputs: residual stream after the block, one (tokens, hidden) tensor
    a sequence.
    """

    index: int
    stats: list[dict[str, LayerStats]]
    inputs: list[BlockInput]
    outputs: list[Tensor]


class StateStorage(Protocol):
    """Where the residual streams between blocks rest, so that a pass that was killed goes on where
    it was.

    load(at_most) gives (index, a (1, tokens, hidden) tensor a sequence in front of block `index`),
    the last one kept that is not behind block `at_most`, or None. save keeps those in front of one
    block in the place of earlier ones.
    """

    def load(self, at_most: int) -> tuple[int, list[Tensor]] | None: ...
    def save(self, index: int, states: Sequence[Tensor]) -> None: ...


@torch.inference_mode()
def capture_blocks(
    model: nn.Module,
    family: Family,
    groups: Sequence[Sequence[Mapping[str, Tensor]]],
    *,
    storage: StateStorage | None = None,
    first: int = 0,
    host: bool = False,
) -> Iterator[BlockCapture]:
    """Yield what calibration learns about each block from `first` on, from full-precision inputs.

    groups: of sequences; each group gets statistics of its own. A sequence is the keyword arguments
    of the model's forward, unpadded (batch of 1). Memory holds a block's residual streams before
    and behind it and its Hessians; host: the streams in the CPU's memory, whatever the device.
    storage: keeps the streams. Raises QuantizationError for no sequences, NaN activations (naming
    block and sequence) and linears that were never reached.
    """
    inputs = [
        _resting(first_block_input(model, family, sequence), host=host)
        for group in groups
        for sequence in group
    ]
    if not inputs:
        raise QuantizationError(
            "calibration got no sequences; check the calibration source and its number of tokens"
        )
    begin, states = (storage.load(first) if storage is not None else None) or (
        0,
        [given.state for given in inputs],
    )
    inputs = [
        BlockInput(state, given.context, given.device)
        for state, given in zip(states, inputs, strict=True)
    ]
    for index, block in enumerate(decoder_blocks(model, family)):
        if index < begin:
            continue
        stats: list[dict[str, LayerStats]] = []
        outputs: list[Tensor] = []
        for group in groups:
            start = len(outputs)
            mine = inputs[start : start + len(group)]
            found, states = (
                block_stats(block, family, mine, f"block {index}", start)
                if index >= first
                else ({}, _through(block, mine))
            )
            stats.append(found)
            outputs += states
        if index >= first:
            yield BlockCapture(index, stats, inputs, [state[0] for state in outputs])
        del stats
        if storage is not None:
            storage.save(index + 1, outputs)
        inputs = [
            BlockInput(state, given.context, given.device)
            for state, given in zip(outputs, inputs, strict=True)
        ]


def _resting(given: BlockInput, *, host: bool) -> BlockInput:
    """A sequence whose residual stream waits in the CPU's memory and is worked on where it came
    from.
    """
    return BlockInput(given.state.cpu(), given.context, given.state.device) if host else given


def _through(block: nn.Module, inputs: Sequence[BlockInput]) -> list[Tensor]:
    return [run_block(block, given) for given in inputs]


def block_stats(
    block: nn.Module, family: Family, inputs: Sequence[BlockInput], label: str, first: int = 0
) -> tuple[dict[str, LayerStats], list[Tensor]]:
    """(statistics of every linear, output of every sequence) of one block. first: number of the
    first sequence, for messages.
    """
    outputs: list[Tensor] = []
    sums, handles = _watch(block, family, inputs[0].device or inputs[0].state.device)
    try:
        for number, given in enumerate(inputs, first):
            outputs.append(run_block(block, given))
            if not bool(torch.isfinite(outputs[-1]).all()):
                raise QuantizationError(
                    f"{label} gives NaN or infinite activations on calibration sequence {number}"
                )
    finally:
        for handle in handles:
            handle.remove()
    shared = [(group, total.stats(f"{label} {group[0]}")) for group, total in sums]
    return {name: layer for group, layer in shared for name in group}, outputs


def first_block_input(
    model: nn.Module, family: Family, sequence: Mapping[str, Tensor]
) -> BlockInput:
    """What the first decoder block receives for one sequence."""
    seen: list[BlockInput] = []

    def stop(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        state = args[0] if args else kwargs.pop("hidden_states")
        seen.append(BlockInput(state, {**kwargs, "past_key_values": None, "use_cache": False}))
        raise _Reached

    handle = decoder_blocks(model, family)[0].register_forward_pre_hook(stop, with_kwargs=True)
    try:
        model(**sequence, use_cache=False)
    except _Reached:
        return seen[0]
    finally:
        handle.remove()
    raise QuantizationError(f"{family.name}: the forward pass never reached {family.blocks}[0]")


def _watch(
    block: nn.Module, family: Family, device: torch.device
) -> tuple[list[tuple[tuple[str, ...], HessianSum]], list[Any]]:
    """Sums, one for each group of linears with a common input, and the handles of the hooks that
    feed them.
    """
    linears = block_linears(block, family)
    sums, handles = [], []
    for group in family.shared_inputs:
        total = HessianSum(linears[group[0]].in_features, device)
        handles.append(
            linears[group[0]].register_forward_pre_hook(
                lambda _module, args, total=total: total.add(args[0])
            )
        )
        sums.append((group, total))
    return sums, handles
