"""A variant: a model with quantized decoder blocks, what it stores, and how it is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.config.schema import EntropyConfig, MethodConfig, WorkersConfig
from harness.errors import ConfigError
from harness.models.load import LoadedModel
from harness.store import digest
from harness.variants.allocate import allocate, allocated_weights
from harness.variants.block_entropy import mean_entropies
from harness.variants.block_scores import measures
from harness.variants.calibration_run import CalibrationRun
from harness.variants.external.backend import External
from harness.variants.quantizers import NONE, build, candidates_of, quantizer_name, quantizers_of
from harness.variants.weights import BankWeights, weight_source
from luq.allocation.orders import block_order
from luq.allocation.plan import ranked_prefix
from luq.allocation.scores import layer_error
from luq.decoder.blocks import BlockWeights, needs_calibration
from luq.types import stored_bytes
from reports.records.results import Block

DENSE_BITS = 16  # what a weight in full precision counts


@dataclass(frozen=True)
class VariantBlock:
    """What one decoder block of a variant stores.

    Attributes:
        method: Name of its quantizer, or of those of its linears.
        paper_bits: Bits per weight as the papers of its methods count them.
        stored_bits: Bits per weight as stored.
        content: Digest of its quantized weights, "" for full precision.
    """

    method: str
    paper_bits: float
    stored_bits: float
    content: str


@dataclass(frozen=True)
class Variant:
    """A model with quantized decoder blocks; see `luq.decoder.apply.applied` for putting them into
    the model.

    Attributes:
        weights: Quantized blocks by index.
        order: All blocks; the first k are those of the low-bit method.
        digest: Of the model and the quantized weights: equal variants of different names agree.
        paper_bits: Bits per weight of the decoder's linears as the papers of the methods count.
        stored_bits: The same as stored; linears in full precision count 16 bits.
        stored_bytes: Of the decoder's linears.
        events: What quantizers reported, such as a raised damping, a line each.
        blocks: What each decoder block stores.
    """

    weights: Mapping[int, BlockWeights]
    order: tuple[int, ...]
    digest: str
    paper_bits: float
    stored_bits: float
    stored_bytes: int
    events: tuple[str, ...]
    blocks: tuple[VariantBlock, ...]


def make_variant(
    run: CalibrationRun,
    method: MethodConfig,
    entropy: EntropyConfig | None = None,
    workers: WorkersConfig | None = None,
) -> Variant:
    """Quantize the blocks that are missing in the store's bank and put a variant together.

    Args:
        run: The model, its calibration and its store.
        method: Which quantizer each block gets.
        entropy: How entropy is measured, for orders by entropy.
        workers: Where programs of other libraries are.

    Raises:
        ConfigError: The method cannot be applied to the model, as with k above its blocks.
        QuantizationError: A linear cannot be quantized; the message names it.
    """
    if run.loaded.packed and (method.low or method.high or method.candidates):
        raise ConfigError(
            f"{run.loaded.name} is packed already: evaluate it with method=fp, or quantize the"
            " model it came from"
        )
    if method.candidates:
        return _allocated_variant(run, method, workers)
    return _ranked_variant(run, method, entropy or EntropyConfig(), workers)


def _ranked_variant(
    run: CalibrationRun,
    method: MethodConfig,
    entropy: EntropyConfig,
    workers: WorkersConfig | None,
) -> Variant:
    """The first k blocks of an order get the low method, the others the high one."""
    count = len(run.loaded.blocks)
    k = _checked_k(method, run.loaded)
    low, high = build(method.low, "method.low"), build(method.high, "method.high")
    bank = BankWeights(run, workers)
    if method.inputs == "fp":
        bank.fill(quantizer for quantizer in (low, high) if quantizer is not None)
    order = tuple(range(count))
    if 0 < k < count:
        scores = measures(run, bank, low, entropy)
        order = block_order(method.order, count, scores, seed=method.order_seed)
    plan = ranked_prefix(order, k, low, high)
    weights = weight_source(run, method.inputs, workers).weights(plan)
    names = {"low": quantizer_name(method.low), "high": quantizer_name(method.high), "none": NONE}
    return _measured(run.loaded, weights, order, [names[name] for name in plan.blocks])


def _checked_k(method: MethodConfig, loaded: LoadedModel) -> int:
    count = len(loaded.blocks)
    if not isinstance(method.k, int) or not 0 <= method.k <= count:
        raise ConfigError(
            f"method.k is {method.k}, {loaded.name} has {count} decoder blocks: choose 0 to {count}"
        )
    if method.k > 0 and not method.low:
        raise ConfigError(
            f"method.k is {method.k}, but {method.name} has no low method; set method.low or"
            " method.k=0"
        )
    return method.k


def _allocated_variant(
    run: CalibrationRun, method: MethodConfig, workers: WorkersConfig | None
) -> Variant:
    """Every block, or linear, gets one of the candidates."""
    candidates = candidates_of(method)
    bank = BankWeights(run, workers)
    assignment = allocate(run, bank, method, candidates)
    source = weight_source(run, method.inputs, workers)
    weights = allocated_weights(source, assignment, candidates, method.inputs)
    names = [quantizer_name(options) for options in method.candidates if options]
    chosen = [
        " and ".join(sorted({names[number] for number in block.values()})) for block in assignment
    ]
    return _measured(run.loaded, weights, tuple(range(len(run.loaded.blocks))), chosen)


def describe(
    run: CalibrationRun,
    variant: Variant,
    method: MethodConfig,
    entropy: EntropyConfig | None = None,
) -> list[Block]:
    """Every block of a variant as a cell records it.

    What it says depends on the variant alone, not on what else is in the store: errors where
    statistics were gathered for it, entropies where its blocks were chosen by them.

    Args:
        run: What the variant was made from.
        variant: The variant.
        method: What it was made with.
        entropy: How entropy is measured.
    """
    gathered = (
        method.inputs == "fp"
        and not run.loaded.streamed
        and any(needs_calibration(q) and not isinstance(q, External) for q in quantizers_of(method))
    )
    entropies: Sequence[float | None] = [None] * len(variant.blocks)
    if _ordered_by_entropy(method, len(variant.blocks)):
        entropies = mean_entropies(run, entropy or EntropyConfig())
    return [
        Block(
            kept=block.method,
            paper_bits=block.paper_bits,
            stored_bits=block.stored_bits,
            entropy=entropies[index],
            output_error=(
                _output_error(run, index, variant.weights[index], block.content)
                if gathered and block.content
                else None
            ),
        )
        for index, block in enumerate(variant.blocks)
    ]


def _ordered_by_entropy(method: MethodConfig, blocks: int) -> bool:
    partial = isinstance(method.k, int) and 0 < method.k < blocks
    return partial and method.order.startswith("entropy")


def _output_error(
    run: CalibrationRun, index: int, weights: BlockWeights, content: str
) -> float | None:
    if weights.changed:  # its linears see other inputs than those that were measured
        return None
    block, family = run.loaded.blocks[index], run.loaded.family
    key = digest.of_value([run.origin, index, content])
    return float(
        run.store.cached(
            "block_errors", key, lambda: layer_error(block, family, weights, run.stats(index))
        )
    )


def _measured(
    loaded: LoadedModel,
    weights: Mapping[int, BlockWeights],
    order: tuple[int, ...],
    methods: Sequence[str],
) -> Variant:
    """The variant of these weights, with its size and its digest. methods: name of each block's."""
    contents = {index: digest.of_block(entry) for index, entry in sorted(weights.items())}
    identity = {
        "model": loaded.digest,
        "dtype": loaded.dtype,
        "blocks": {str(index): content for index, content in contents.items()},
    }
    packed = loaded.packed
    known = {**packed, **weights}
    sizes = [_size(loaded, index, known.get(index)) for index in range(len(loaded.blocks))]
    count, paper, size = (sum(column) for column in zip(*sizes, strict=True))
    return Variant(
        weights=weights,
        order=order,
        digest=digest.of_value(identity),
        paper_bits=paper / count,
        stored_bits=8 * size / count,
        stored_bytes=int(size),
        events=tuple(_events(known, loaded.family.linears)),
        blocks=tuple(
            VariantBlock(
                method=_formats(packed[index]) if index in packed else methods[index],
                paper_bits=block_paper / block_count,
                stored_bits=8 * block_size / block_count,
                content=contents.get(index, ""),
            )
            for index, (block_count, block_paper, block_size) in enumerate(sizes)
        ),
    )


def _size(loaded: LoadedModel, index: int, entry: BlockWeights | None) -> tuple[int, float, int]:
    """(weights, bits as papers count them, stored bytes) of a block's linears."""
    count, paper, size = 0, 0.0, 0
    for name in loaded.family.linears:
        linear: Any = loaded.blocks[index].get_submodule(name)
        numel = linear.out_features * linear.in_features
        packed = None if entry is None else entry.linears[name]
        count += numel
        paper += numel * (float(DENSE_BITS) if packed is None else packed.paper_bits)
        size += numel * DENSE_BITS // 8 if packed is None else stored_bytes(packed)
    return count, paper, size


def _formats(entry: BlockWeights) -> str:
    return "+".join(sorted({packed.format for packed in entry.linears.values()}))


def _events(known: Mapping[int, BlockWeights], linears: Sequence[str]) -> list[str]:
    """What quantizers reported, by block and linear."""
    return [
        f"block {index} {name}: {event.kind} {event.detail}"
        for index in sorted(known)
        for name in linears
        for event in known[index].linears[name].events
    ]
