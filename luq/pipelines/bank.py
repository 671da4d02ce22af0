"""The bank: one decoder block's quantized weights for one quantizer, made once and recombined by
every plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import torch
from torch import nn

from luq.calibration.capture import BlockCapture
from luq.decoder.blocks import BlockInput, BlockWeights, needs_inputs
from luq.decoder.families import Family, block_linears
from luq.decoder.streaming import visiting
from luq.types import LayerStats, Plan, QuantizationError, QuantizedWeight, Quantizer

StatsSource = Callable[[int], Mapping[str, LayerStats]]
CaptureSource = Callable[[], Iterator[BlockCapture]]


class BankStorage(Protocol):
    """Where entries are kept. load returns None for an entry that is absent."""

    def load(self, block: int, quantizer: Quantizer) -> BlockWeights | None: ...
    def save(self, block: int, quantizer: Quantizer, weights: BlockWeights) -> None: ...


def quantize_block(
    block: nn.Module,
    family: Family,
    quantizer: Quantizer,
    stats: Mapping[str, LayerStats],
    label: str,
    inputs: Sequence[BlockInput] = (),
) -> BlockWeights:
    """Every linear of one block, from its statistics or, for methods that need them, its inputs.

    Raises QuantizationError that names the linear.

    The work is done where the statistics or the inputs are; a block that lives elsewhere comes
    there for it.
    """
    with visiting(block, _place(block, stats, inputs)):
        return _quantized(block, family, quantizer, stats, label, inputs)


def _place(
    block: nn.Module, stats: Mapping[str, LayerStats], inputs: Sequence[BlockInput]
) -> torch.device:
    home = next(block.parameters()).device
    if home.type != "cpu":
        return home
    if inputs:
        return inputs[0].device or inputs[0].state.device
    return next((layer.hessian.device for layer in stats.values()), home)


def _quantized(
    block: nn.Module,
    family: Family,
    quantizer: Quantizer,
    stats: Mapping[str, LayerStats],
    label: str,
    inputs: Sequence[BlockInput],
) -> BlockWeights:
    if needs_inputs(quantizer):
        try:
            found: BlockWeights = quantizer.quantize_block(block, family, inputs)  # type: ignore[attr-defined]
        except QuantizationError as error:
            raise QuantizationError(f"{label} {error}") from error
        return found
    weights: dict[str, QuantizedWeight] = {}
    for name, linear in block_linears(block, family).items():
        try:
            weights[name] = quantizer(linear.weight.detach(), stats.get(name))
        except QuantizationError as error:
            raise QuantizationError(f"{label} {name}: {error}") from error
    return BlockWeights(weights)


class Bank:
    """Entries of one model and one calibration.

    stats(block): its statistics from full-precision inputs. captures(): a pass over the blocks with
    those inputs. Each is asked only if an entry is missing that needs it. on_block(done, total):
    called when an entry has been made.
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
        self.blocks, self.family, self.stats, self.storage, self.captures = (
            blocks,
            family,
            stats,
            storage,
            captures,
        )
        self.on_block = on_block

    def plan_weights(self, plan: Plan) -> dict[int, BlockWeights]:
        """The entries of every block that the plan quantizes."""
        if len(plan.blocks) != len(self.blocks):
            raise QuantizationError(
                f"the plan has {len(plan.blocks)} blocks, the model {len(self.blocks)}"
            )
        wanted = {i: plan.methods[name] for i, name in enumerate(plan.blocks) if name != "none"}
        found = {i: self.storage.load(i, quantizer) for i, quantizer in wanted.items()}
        missing = {i: wanted[i] for i, entry in found.items() if entry is None}
        made = self._from_inputs({i: q for i, q in missing.items() if needs_inputs(q)})
        for i, quantizer in missing.items():
            if i not in made:
                stats = self.stats(i) if quantizer.needs_stats else {}
                made[i] = self._keep(
                    i,
                    quantizer,
                    quantize_block(self.blocks[i], self.family, quantizer, stats, f"block {i}"),
                )
                self.on_block(len(made), len(missing))
        return {i: made[i] if entry is None else entry for i, entry in found.items()}

    def _from_inputs(self, missing: Mapping[int, Quantizer]) -> dict[int, BlockWeights]:
        """Entries of methods that need a block's inputs, made as these stream by."""
        made: dict[int, BlockWeights] = {}
        for capture in self.captures() if missing else ():
            i = capture.index
            if i in missing:
                weights = quantize_block(
                    self.blocks[i], self.family, missing[i], {}, f"block {i}", capture.inputs
                )
                made[i] = self._keep(i, missing[i], weights)
                self.on_block(len(made), len(missing))
            if len(made) == len(missing):
                break
        return made

    def _keep(self, block: int, quantizer: Quantizer, weights: BlockWeights) -> BlockWeights:
        self.storage.save(block, quantizer, weights)
        return weights
