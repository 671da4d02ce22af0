"""The bank: one decoder block's quantized weights for one quantizer, made once and recombined by every plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from torch import nn

from luq.families import Family, block_linears
from luq.types import LayerStats, Plan, QuantizationError, QuantizedWeight, Quantizer

BlockWeights = dict[str, QuantizedWeight]
StatsSource = Callable[[int], Mapping[str, LayerStats]]


class BankStorage(Protocol):
    """Where entries are kept. load returns None for an entry that is absent."""

    def load(self, block: int, quantizer: Quantizer) -> BlockWeights | None: ...
    def save(self, block: int, quantizer: Quantizer, weights: BlockWeights) -> None: ...


def quantize_block(block: nn.Module, family: Family, quantizer: Quantizer, stats: Mapping[str, LayerStats], label: str) -> BlockWeights:
    """Every linear of one block. Raises QuantizationError that names the linear."""
    weights: BlockWeights = {}
    for name, linear in block_linears(block, family).items():
        try:
            weights[name] = quantizer(linear.weight.detach(), stats.get(name))
        except QuantizationError as error:
            raise QuantizationError(f"{label} {name}: {error}") from error
    return weights


class Bank:
    """Entries of one model and one calibration. stats(block): its statistics from full-precision inputs; asked only if one is missing."""

    def __init__(self, blocks: nn.ModuleList, family: Family, stats: StatsSource, storage: BankStorage):
        self.blocks, self.family, self.stats, self.storage = blocks, family, stats, storage

    def weights(self, block: int, quantizer: Quantizer) -> BlockWeights:
        found = self.storage.load(block, quantizer)
        if found is None:
            stats = self.stats(block) if quantizer.needs_stats else {}
            found = quantize_block(self.blocks[block], self.family, quantizer, stats, f"block {block}")
            self.storage.save(block, quantizer, found)
        return found

    def plan_weights(self, plan: Plan) -> dict[int, BlockWeights]:
        """The entries of every block that the plan quantizes."""
        if len(plan.blocks) != len(self.blocks):
            raise QuantizationError(f"the plan has {len(plan.blocks)} blocks, the model {len(self.blocks)}")
        return {i: self.weights(i, plan.methods[name]) for i, name in enumerate(plan.blocks) if name != "none"}
