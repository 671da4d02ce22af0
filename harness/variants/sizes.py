"""What variants of a model would store, from its configuration alone: no weights are read."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from harness.config.schema import Config
from harness.errors import ConfigError
from harness.models.load import LoadedModel, empty_model
from harness.variants.quantizers import build
from harness.variants.variant import Variant
from luq.decoder.families import decoder_blocks, find_family
from luq.pipelines.guard import quantized_weight
from luq.quantizers.registry import quantizer_label
from luq.rounding.dense import smallest_exact
from luq.types import LayerStats, QuantizationError, Quantizer, stored_bytes

SAMPLE_ROWS = (64, 128)
SAMPLE_COLUMNS = (512, 1024)
MEASURED_COLUMNS = 2048  # layers with no more inputs than this are sampled at their own width
Shapes = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class ModelSizes:
    """Sizes of a model.

    Attributes:
        blocks: Decoder blocks.
        shapes: (out, in) of the linears of one block.
        inputs: Width of each input that linears of a block share.
        hidden: Width of the residual stream.
        decoder: Weights of all blocks' linears.
        text: Parameters of the language model.
        model: Parameters of everything.
        key_values: Numbers that the cache of keys and values holds for one token.
    """

    blocks: int
    shapes: Shapes
    inputs: tuple[int, ...]
    hidden: int
    decoder: int
    text: int
    model: int
    key_values: int

    @property
    def block(self) -> int:
        """Weights of one block's linears."""
        return self.decoder // self.blocks


@functools.lru_cache(maxsize=4)
def sizes_of(path: str, revision: str | None) -> ModelSizes:
    """Sizes of the model at `model.path`.

    Raises:
        ConfigError: Its configuration cannot be read.
        QuantizationError: Its architecture is unknown.
    """
    model = empty_model(path, revision)
    family = find_family(model)
    blocks = decoder_blocks(model, family)
    linears: list[Any] = [blocks[0].get_submodule(name) for name in family.linears]
    shapes = tuple((linear.out_features, linear.in_features) for linear in linears)
    shared: list[Any] = [blocks[0].get_submodule(group[0]) for group in family.shared_inputs]
    text = {
        id(p): p.numel()
        for module in (model.get_submodule(family.text), model.get_output_embeddings())
        for p in module.parameters()
    }
    config = model.config.get_text_config()
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return ModelSizes(
        blocks=len(blocks),
        shapes=shapes,
        inputs=tuple(linear.in_features for linear in shared),
        hidden=config.hidden_size,
        decoder=len(blocks) * sum(out * inner for out, inner in shapes),
        text=sum(text.values()),
        model=sum(p.numel() for p in model.parameters()),
        key_values=2 * len(blocks) * config.num_key_value_heads * head,
    )


@functools.cache
def quantized_size(quantizer: Quantizer, shapes: Shapes) -> tuple[float, int]:
    """(paper bits per weight, bytes) of one block's linears, from what the quantizer really packs.

    Wide layers are extrapolated from four small random ones: bytes are a sum of parts that grow
    with rows, with columns, with both, or not at all. Where the packed size depends on the weights
    (PB-LLM, SAGE) it is an estimate for Gaussian ones.

    Args:
        quantizer: What packs them.
        shapes: (out, in) of the linears.

    Raises:
        ConfigError: It cannot pack a small random layer, see `luq.pipelines.guard`.
    """
    bits = size = 0.0
    for out, inner in shapes:
        columns = (inner,) if inner <= MEASURED_COLUMNS else SAMPLE_COLUMNS
        packed = {(n, m): _packed(quantizer, n, m) for n in SAMPLE_ROWS for m in columns}
        low, high = SAMPLE_ROWS
        at_low, at_high = (
            _line(columns, [packed[n, m][1] for m in columns], inner) for n in (low, high)
        )
        size += at_low + (at_high - at_low) * (out - low) / (high - low)
        bits += out * inner * packed[high, columns[-1]][0]
    return bits / sum(out * inner for out, inner in shapes), round(size)


def _line(places: Sequence[int], values: Sequence[float], at: int) -> float:
    """The value at `at` of the line through two points; one point alone is at `at`."""
    if len(places) == 1:
        return values[0]
    return values[0] + (values[1] - values[0]) * (at - places[0]) / (places[1] - places[0])


@functools.cache
def _packed(quantizer: Quantizer, out: int, inner: int) -> tuple[float, int]:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(out, inner, generator=generator) * 0.02
    try:
        packed = quantized_weight(quantizer, weight, LayerStats(torch.eye(inner), 10 * inner))
    except QuantizationError as error:
        raise ConfigError(
            f"{quantizer_label(quantizer)} cannot be sized: a random layer of shape {out, inner}:"
            f" {error}"
        ) from error
    return packed.paper_bits, stored_bytes(packed)


@dataclass(frozen=True)
class VariantSize:
    """What a variant stores.

    Attributes:
        paper_bits: Per weight of the decoder's linears; NaN where it is decided later.
        stored_bits: Per weight of the decoder's linears.
        decoder: Bytes of the packed linears.
        text: Bytes of the language model, the rest of it at 16 bits.
        model: Bytes of everything, the rest of it at 16 bits.
    """

    paper_bits: float
    stored_bits: float
    decoder: int
    text: int
    model: int


def variant_size(config: Config, sizes: ModelSizes) -> VariantSize:
    """What the variant of a configuration stores.

    Raises:
        ConfigError: For more blocks at the low-bit method than the model has, or for a quantizer
            that cannot be sized.
    """
    method, k = config.method, int(config.method.k)
    if k > sizes.blocks:
        raise ConfigError(
            f"method.k is {k}, {config.model.name} has {sizes.blocks} decoder blocks: choose 0 to "
            f"{sizes.blocks}"
        )
    if method.candidates:
        assert method.budget_bits is not None, "the configuration was checked"
        return _size(sizes, float("nan"), int(method.budget_bits * sizes.decoder / 8))
    low, high = build(method.low, "method.low"), build(method.high, "method.high")
    bits = decoder = 0.0
    for count, quantizer in ((k, low), (sizes.blocks - k, high)):
        if count:
            paper, size = (
                (16.0, 2 * sizes.block)
                if quantizer is None
                else quantized_size(quantizer, sizes.shapes)
            )
            bits, decoder = bits + count * paper, decoder + count * size
    return _size(sizes, bits / sizes.blocks, round(decoder))


def _size(sizes: ModelSizes, paper_bits: float, decoder: int) -> VariantSize:
    text = decoder + 2 * (sizes.text - sizes.decoder)
    model = text + 2 * (sizes.model - sizes.text)
    return VariantSize(paper_bits, 8 * decoder / sizes.decoder, decoder, text, model)


def language_model_bytes(loaded: LoadedModel, variant: Variant) -> int:
    """Bytes of every tensor of the language model as it would be packed.

    These are the variant's linears, and embeddings, norms and head, each once, in the smallest type
    that holds them exactly.
    """
    family, model = loaded.family, loaded.model
    text: Any = model.get_submodule(family.text)
    inside = {
        id(block.get_submodule(name).weight) for block in loaded.blocks for name in family.linears
    }
    rest = {
        id(p): p
        for module in (text, model.get_output_embeddings())
        for p in module.parameters()
        if id(p) not in inside
    }
    return variant.stored_bytes + sum(
        int(p.numel()) * smallest_exact(p.data).element_size() for p in rest.values()
    )
