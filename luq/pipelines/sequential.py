"""Quantization in sequence: every block is calibrated behind blocks that are already quantized, as
GPTQ, BiLLM and PB-LLM publish it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor, nn

from luq.calibration.capture import block_stats, first_block_input
from luq.decoder.apply import applied
from luq.decoder.blocks import BlockInput, BlockWeights, needs_calibration, run_block
from luq.decoder.families import Family, decoder_blocks
from luq.pipelines.bank import quantize_block
from luq.types import Plan, QuantizationError, Quantizer

Prefix = Sequence[Quantizer | None]


class PrefixStorage(Protocol):
    """Entries of blocks behind quantized ones: the block is the one behind `prefix`, which names
    the quantizer of every block before it. load returns None for an entry that is absent.
    """

    def load_behind(self, prefix: Prefix, quantizer: Quantizer) -> BlockWeights | None: ...
    def save_behind(self, prefix: Prefix, quantizer: Quantizer, weights: BlockWeights) -> None: ...


def sequential_weights(
    model: nn.Module,
    family: Family,
    plan: Plan,
    sequences: Callable[[], Sequence[Mapping[str, Tensor]]],
    storage: PrefixStorage,
) -> dict[int, BlockWeights]:
    """LUQ's equation 7 literally: block i is calibrated behind blocks 0..i-1 as this plan quantizes
    them. Plans with a common prefix share its entries. The model's weights are the same before and
    after.
    """
    quantizers = [plan.methods.get(name) for name in plan.blocks]
    found = {
        i: storage.load_behind(quantizers[:i], quantizer)
        for i, quantizer in enumerate(quantizers)
        if quantizer is not None
    }
    known = {i: entry for i, entry in found.items() if entry is not None}
    missing = found.keys() - known.keys()
    if missing:
        known |= _quantize_missing(
            model, family, quantizers[: max(missing) + 1], sequences(), known, storage
        )
    return {i: known[i] for i in found}


def grafted_weights(
    model: nn.Module,
    family: Family,
    plan: Plan,
    sequences: Callable[[], Sequence[Mapping[str, Tensor]]],
    storage: PrefixStorage,
) -> dict[int, BlockWeights]:
    """Blocks of whole-model sequential runs, one for each of the plan's quantizers: block i was
    calibrated behind blocks 0..i-1 under its own quantizer, whatever the plan gives them (what the
    one public script of LUQ does).
    """
    found: dict[int, BlockWeights] = {}
    for name, quantizer in plan.methods.items():
        mine = [i for i, chosen in enumerate(plan.blocks) if chosen == name]
        whole = Plan((name,) * len(plan.blocks), {name: quantizer})
        made = sequential_weights(model, family, whole, sequences, storage) if mine else {}
        found |= {i: made[i] for i in mine}
    return dict(sorted(found.items()))


@torch.inference_mode()
def _quantize_missing(
    model: nn.Module,
    family: Family,
    quantizers: Prefix,
    sequences: Sequence[Mapping[str, Tensor]],
    known: Mapping[int, BlockWeights],
    storage: PrefixStorage,
) -> dict[int, BlockWeights]:
    """Entries of all blocks of `quantizers`, those that are known taken as they are."""
    if not sequences:
        raise QuantizationError(
            "calibration got no sequences; check the calibration source and its number of tokens"
        )
    found: dict[int, BlockWeights] = {}
    inputs = [first_block_input(model, family, sequence) for sequence in sequences]
    for index, (block, quantizer) in enumerate(
        zip(decoder_blocks(model, family), quantizers, strict=False)
    ):
        entry = known.get(index)
        if quantizer is not None and entry is None:
            entry = _quantize_behind(block, family, quantizer, inputs, f"block {index}")
            storage.save_behind(quantizers[:index], quantizer, entry)
        found |= {} if entry is None else {index: entry}
        with applied(model, family, {} if entry is None else {index: entry}):
            states = [run_block(block, given) for given in inputs]
        if not all(bool(torch.isfinite(state).all()) for state in states):
            raise QuantizationError(
                f"block {index} gives NaN or infinite activations once it is quantized"
            )
        inputs = [
            BlockInput(state, given.context, given.device)
            for state, given in zip(states, inputs, strict=True)
        ]
    return found


def _quantize_behind(
    block: nn.Module, family: Family, quantizer: Quantizer, inputs: Sequence[BlockInput], label: str
) -> BlockWeights:
    stats = block_stats(block, family, inputs, label)[0] if needs_calibration(quantizer) else {}
    behind = {id(layer): replace(layer, inputs="quantized") for layer in stats.values()}
    return quantize_block(
        block,
        family,
        quantizer,
        {name: behind[id(layer)] for name, layer in stats.items()},
        label,
        inputs,
    )
