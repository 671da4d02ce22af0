"""One calibration pass over the decoder, block by block.

It gives the Hessian of every linear's inputs, and every block's inputs and outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from luq.calibration.hessian import HessianSum, SumOfParts
from luq.decoder.blocks import BlockInput, run_block
from luq.decoder.families import Family, block_linears, decoder_blocks
from luq.types import LayerStats, QuantizationError


class _FirstBlockReached(Exception):
    """Stops the forward pass at the first decoder block."""


@dataclass(frozen=True)
class BlockCapture:
    """What one block does with the calibration data.

    Attributes:
        index: number of the block.
        stats: for each group of sequences, the statistics of the block's linears by name.
        inputs: input of the block for each sequence.
        outputs: residual stream after the block for each sequence, (tokens, hidden).
    """

    index: int
    stats: list[dict[str, LayerStats]]
    inputs: list[BlockInput]
    outputs: list[Tensor]


class StateStorage(Protocol):
    """Storage of the residual streams between two blocks, to resume an interrupted pass."""

    def load(self, at_most: int) -> tuple[int, list[Tensor]] | None:
        """Return the latest stored streams that are before block `at_most` or an earlier one.

        Returns:
            The index of the block they are before, and a (1, tokens, hidden) tensor for each
            sequence; None if there are none.
        """
        ...

    def save(self, index: int, states: Sequence[Tensor]) -> None:
        """Store the streams before block `index` in place of earlier ones."""
        ...


@torch.inference_mode()
def capture_blocks(
    model: nn.Module,
    family: Family,
    groups: Sequence[Sequence[Mapping[str, Tensor]]],
    *,
    storage: StateStorage | None = None,
    first: int = 0,
    host: bool = False,
    hessians: bool = True,
    together: bool = False,
) -> Iterator[BlockCapture]:
    """Run the calibration data through the full-precision decoder, one block at a time.

    In memory are the residual streams before and after one block, and its Hessians.

    Args:
        model: a transformers model.
        family: its family.
        groups: groups of sequences; each group gets statistics of its own. A sequence is the
            keyword arguments of the model's forward pass, unpadded, batch of 1.
        storage: where residual streams are stored between blocks, to resume the pass.
        first: first block to capture; earlier blocks only run.
        host: keep the streams in the CPU's memory, whatever the device.
        hessians: whether to collect statistics; without them `BlockCapture.stats` is empty.
        together: sum the statistics of all groups up, so that `BlockCapture.stats` has one entry:
            the same as `luq.calibration.hessian.summed` gives, in the memory of two groups.

    Yields:
        What each block from `first` on does with the data.

    Raises:
        QuantizationError: There are no sequences, activations are NaN or infinite (names block and
            sequence), or a linear was never reached.
    """
    inputs = [
        _on_host(first_block_input(model, family, sequence))
        if host
        else first_block_input(model, family, sequence)
        for group in groups
        for sequence in group
    ]
    if not inputs:
        raise QuantizationError(
            "calibration got no sequences; check the calibration source and its number of tokens"
        )
    begin = 0
    if storage is not None and (resumed := storage.load(first)) is not None:
        begin, states = resumed
        inputs = _with_states(inputs, states)
    for index, block in enumerate(decoder_blocks(model, family)):
        if index < begin:
            continue
        stats: list[dict[str, LayerStats]] = []
        outputs: list[Tensor] = []
        total = SumOfParts(sum(one.state.shape[1] for one in inputs))
        for group in groups:
            start = len(outputs)
            group_inputs = inputs[start : start + len(group)]
            group_stats, states = (
                block_stats(block, family, group_inputs, f"block {index}", start)
                if index >= first and hessians
                else ({}, [run_block(block, one) for one in group_inputs])
            )
            outputs += states
            if not together or not group_stats:
                stats.append(group_stats)
                continue
            total.add(group_stats)
        if together and index >= first and hessians:
            stats = [total.stats()]
        if index >= first:
            yield BlockCapture(index, stats, inputs, [state[0] for state in outputs])
        del stats, total
        if storage is not None:
            storage.save(index + 1, outputs)
        inputs = _with_states(inputs, outputs)


def _on_host(block_input: BlockInput) -> BlockInput:
    """Move the residual stream to the CPU's memory; the block computes where it came from."""
    state = block_input.state
    return replace(block_input, state=state.cpu(), device=state.device)


def _with_states(inputs: Sequence[BlockInput], states: Sequence[Tensor]) -> list[BlockInput]:
    return [replace(one, state=state) for one, state in zip(inputs, states, strict=True)]


def block_stats(
    block: nn.Module, family: Family, inputs: Sequence[BlockInput], label: str, first: int = 0
) -> tuple[dict[str, LayerStats], list[Tensor]]:
    """Run one block on calibration data.

    Args:
        block: the decoder block.
        family: the model's family.
        inputs: of the block, one sequence each.
        label: name of the block, for messages.
        first: number of the first sequence, for messages.

    Returns:
        The statistics of every linear by name, and the output (1, tokens, hidden) of every
        sequence.

    Raises:
        QuantizationError: Activations are NaN or infinite, or a linear was never reached.
    """
    outputs: list[Tensor] = []
    sums, handles = _watch(block, family, inputs[0].device or inputs[0].state.device)
    try:
        for number, block_input in enumerate(inputs, first):
            outputs.append(run_block(block, block_input))
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
    """Return the input of the first decoder block for one sequence.

    Raises:
        QuantizationError: The forward pass does not reach the block.
    """
    seen: list[BlockInput] = []

    def stop(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        state = args[0] if args else kwargs.pop("hidden_states")
        seen.append(BlockInput(state, {**kwargs, "past_key_values": None, "use_cache": False}))
        raise _FirstBlockReached

    handle = decoder_blocks(model, family)[0].register_forward_pre_hook(stop, with_kwargs=True)
    try:
        model(**sequence, use_cache=False)
    except _FirstBlockReached:
        return seen[0]
    finally:
        handle.remove()
    raise QuantizationError(f"{family.name}: the forward pass never reached {family.blocks}[0]")


def _watch(
    block: nn.Module, family: Family, device: torch.device
) -> tuple[list[tuple[tuple[str, ...], HessianSum]], list[Any]]:
    """Register hooks that feed a sum for each group of linears with a common input.

    Returns the sums by group, and the handles of the hooks.
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
