"""The bank: quantized decoder blocks, one entry for each block and quantizer.

With full-precision inputs an entry does not depend on the plan, so that every plan is a combination
of the same entries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import torch
from torch import nn

from luq.allocation.plan import Plan
from luq.calibration.capture import BlockCapture
from luq.decoder.blocks import BlockInput, BlockWeights, needs_inputs
from luq.decoder.families import Family, block_linears
from luq.decoder.streaming import moved_to
from luq.pipelines.guard import quantized_block, quantized_weight
from luq.types import LayerStats, QuantizationError, QuantizedWeight, Quantizer

StatsSource = Callable[[int], Mapping[str, LayerStats]]
CaptureSource = Callable[[], Iterator[BlockCapture]]


class BankStorage(Protocol):
    """Storage of the bank's entries."""

    def load(self, block: int, quantizer: Quantizer) -> BlockWeights | None:
        """Return the entry, or None if it is not stored."""
        ...

    def save(self, block: int, quantizer: Quantizer, weights: BlockWeights) -> None:
        """Store an entry."""
        ...


def quantize_block(
    block: nn.Module,
    family: Family,
    quantizer: Quantizer,
    stats: Mapping[str, LayerStats],
    label: str,
    inputs: Sequence[BlockInput] = (),
) -> BlockWeights:
    """Quantize every linear of one block.

    The work is done on the device of the statistics or inputs; a block elsewhere is moved there for
    it. The quantizer may be anyone's, see `luq.pipelines.guard`.

    Args:
        block: not changed.
        family: the model's family.
        quantizer: the method.
        stats: statistics of each linear by name, for methods that use them.
        label: name of the block, for messages.
        inputs: the block's inputs, for methods that use them.

    Raises:
        QuantizationError: Names the block and the linear.
    """
    with moved_to(block, _device(block, stats, inputs)):
        if needs_inputs(quantizer):
            try:
                return quantized_block(quantizer, block, family, inputs)
            except QuantizationError as error:
                raise QuantizationError(f"{label} {error}") from error
        weights: dict[str, QuantizedWeight] = {}
        for name, linear in block_linears(block, family).items():
            try:
                weights[name] = quantized_weight(quantizer, linear.weight, stats.get(name))
            except QuantizationError as error:
                raise QuantizationError(f"{label} {name}: {error}") from error
        return BlockWeights(weights)


def _device(
    block: nn.Module, stats: Mapping[str, LayerStats], inputs: Sequence[BlockInput]
) -> torch.device:
    home = next(block.parameters()).device
    if home.type != "cpu":
        return home
    if inputs:
        return inputs[0].device or inputs[0].state.device
    return next((layer.hessian.device for layer in stats.values()), home)


class Bank:
    """Entries of one model and one calibration, from full-precision inputs.

    Args:
        blocks: the model's decoder blocks.
        family: the model's family.
        stats: gives the statistics of a block; called only if an entry is missing that needs them.
        storage: where entries are stored.
        captures: a pass over the blocks; called only if an entry is missing that needs inputs.
        on_block: called with (done, total) after each new entry.
    """

    def __init__(
        self,
        blocks: nn.ModuleList,
        family: Family,
        stats: StatsSource,
        storage: BankStorage,
        captures: CaptureSource,
        on_block: Callable[[int, int], None] = lambda _done, _total: None,
    ):
        self.blocks, self.family, self.storage = blocks, family, storage
        self.stats, self.captures, self.on_block = stats, captures, on_block

    def plan_weights(self, plan: Plan) -> dict[int, BlockWeights]:
        """Return the entries of every block that the plan quantizes, by block.

        Entries that are not stored are made and stored.

        Raises:
            QuantizationError: The plan is for another number of blocks, or a block cannot be
                quantized.
        """
        if len(plan.blocks) != len(self.blocks):
            raise QuantizationError(
                f"the plan has {len(plan.blocks)} blocks, the model {len(self.blocks)}"
            )
        wanted = {i: plan.methods[name] for i, name in enumerate(plan.blocks) if name != "none"}
        stored = {i: self.storage.load(i, quantizer) for i, quantizer in wanted.items()}
        missing = {i: wanted[i] for i, entry in stored.items() if entry is None}
        new = self._from_inputs({i: q for i, q in missing.items() if needs_inputs(q)})
        for i, quantizer in missing.items():
            if i not in new:
                stats = self.stats(i) if quantizer.needs_stats else {}
                new[i] = quantize_block(self.blocks[i], self.family, quantizer, stats, f"block {i}")
                self.storage.save(i, quantizer, new[i])
                self.on_block(len(new), len(missing))
        return {i: new[i] if entry is None else entry for i, entry in stored.items()}

    def _from_inputs(self, missing: Mapping[int, Quantizer]) -> dict[int, BlockWeights]:
        """Make the entries of methods that need a block's inputs, in one pass."""
        new: dict[int, BlockWeights] = {}
        for capture in self.captures() if missing else ():
            i = capture.index
            if i in missing:
                new[i] = quantize_block(
                    self.blocks[i], self.family, missing[i], {}, f"block {i}", capture.inputs
                )
                self.storage.save(i, missing[i], new[i])
                self.on_block(len(new), len(missing))
            if len(new) == len(missing):
                break
        return new
