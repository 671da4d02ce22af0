"""Sequential quantization: each block is calibrated after all earlier blocks are quantized.

This is how GPTQ, BiLLM and PB-LLM are published.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor, nn

from luq.allocation.plan import Plan
from luq.calibration.capture import block_stats, first_block_input
from luq.decoder.apply import applied
from luq.decoder.blocks import BlockInput, BlockWeights, needs_calibration, run_block
from luq.decoder.families import Family, decoder_blocks
from luq.pipelines.bank import quantize_block
from luq.types import QuantizationError, Quantizer

# The quantizer of each block before the one in question; None for full precision.
Prefix = Sequence[Quantizer | None]


class PrefixStorage(Protocol):
    """Storage of blocks that were calibrated after a prefix of quantized blocks."""

    def load_behind(self, prefix: Prefix, quantizer: Quantizer) -> BlockWeights | None:
        """Return the entry of the block after the prefix, or None if it is not stored."""
        ...

    def save_behind(self, prefix: Prefix, quantizer: Quantizer, weights: BlockWeights) -> None:
        """Store the entry of the block after the prefix."""
        ...


def sequential_weights(
    model: nn.Module,
    family: Family,
    plan: Plan,
    sequences: Callable[[], Sequence[Mapping[str, Tensor]]],
    storage: PrefixStorage,
) -> dict[int, BlockWeights]:
    """Quantize each block on its inputs after this plan quantized all earlier blocks.

    Plans with a common prefix share its entries. Source: LUQ (arXiv 2509.23729), equation 7, taken
    literally.

    Args:
        model: its weights are the same before and after.
        family: its family.
        plan: which quantizer each block gets.
        sequences: gives the calibration data, see `luq.calibration.capture.capture_blocks`; called
            only if an entry is missing.
        storage: where entries are stored.

    Returns:
        The entries of every block that the plan quantizes, by block.

    Raises:
        QuantizationError: There are no sequences, a block cannot be quantized, or activations are
            NaN or infinite.
    """
    quantizers = [plan.methods.get(name) for name in plan.blocks]
    stored = {
        i: storage.load_behind(quantizers[:i], quantizer)
        for i, quantizer in enumerate(quantizers)
        if quantizer is not None
    }
    entries = {i: entry for i, entry in stored.items() if entry is not None}
    missing = stored.keys() - entries.keys()
    if missing:
        entries |= _quantize_missing(
            model, family, quantizers[: max(missing) + 1], sequences(), entries, storage
        )
    return {i: entries[i] for i in stored}


def grafted_weights(
    model: nn.Module,
    family: Family,
    plan: Plan,
    sequences: Callable[[], Sequence[Mapping[str, Tensor]]],
    storage: PrefixStorage,
) -> dict[int, BlockWeights]:
    """Combine blocks of whole-model sequential runs, one for each quantizer of the plan.

    Each block was calibrated after all earlier blocks were quantized by its own quantizer, whatever
    the plan gives them, as in the one public script of LUQ. Arguments as in `sequential_weights`.
    """
    entries: dict[int, BlockWeights] = {}
    for name, quantizer in plan.methods.items():
        own = [i for i, chosen in enumerate(plan.blocks) if chosen == name]
        if own:
            whole = Plan((name,) * len(plan.blocks), {name: quantizer})
            run = sequential_weights(model, family, whole, sequences, storage)
            entries |= {i: run[i] for i in own}
    return dict(sorted(entries.items()))


@torch.no_grad()  # not inference mode: weights that are returned must be ordinary tensors
def _quantize_missing(
    model: nn.Module,
    family: Family,
    quantizers: Prefix,
    sequences: Sequence[Mapping[str, Tensor]],
    known: Mapping[int, BlockWeights],
    storage: PrefixStorage,
) -> dict[int, BlockWeights]:
    """Return the entries of all blocks of `quantizers`, of which some are known."""
    if not sequences:
        raise QuantizationError(
            "calibration got no sequences; check the calibration source and its number of tokens"
        )
    entries: dict[int, BlockWeights] = {}
    inputs = [first_block_input(model, family, sequence) for sequence in sequences]
    for index, (block, quantizer) in enumerate(
        zip(decoder_blocks(model, family), quantizers, strict=False)
    ):
        entry = known.get(index)
        if quantizer is not None and entry is None:
            entry = _quantize_after(block, family, quantizer, inputs, f"block {index}")
            storage.save_behind(quantizers[:index], quantizer, entry)
        quantized = {} if entry is None else {index: entry}
        entries |= quantized
        with applied(model, family, quantized):
            states = [run_block(block, block_input) for block_input in inputs]
        if not all(bool(torch.isfinite(state).all()) for state in states):
            raise QuantizationError(
                f"block {index} gives NaN or infinite activations once it is quantized"
            )
        inputs = [
            replace(block_input, state=state)
            for block_input, state in zip(inputs, states, strict=True)
        ]
    return entries


def _quantize_after(
    block: nn.Module, family: Family, quantizer: Quantizer, inputs: Sequence[BlockInput], label: str
) -> BlockWeights:
    stats = block_stats(block, family, inputs, label)[0] if needs_calibration(quantizer) else {}
    marked = {id(layer): replace(layer, inputs="quantized") for layer in stats.values()}
    return quantize_block(
        block,
        family,
        quantizer,
        {name: marked[id(layer)] for name, layer in stats.items()},
        label,
        inputs,
    )
