"""Put quantized weights into a model and take them out again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from luq.decoder.blocks import BlockWeights
from luq.decoder.families import Family, block_linears, decoder_blocks
from luq.decoder.packed_linear import pack_model
from luq.types import QuantizationError


@contextmanager
def applied(
    model: nn.Module, family: Family, weights: Mapping[int, BlockWeights], *, packed: bool = False
) -> Iterator[None]:
    """Inside the context the model computes with the dequantized weights, in its own dtype;
    afterwards it is bit for bit what it was.

    packed: its linears live on their packed weights meanwhile and dequantize them for each call:
    the same values, in a fraction of the memory, for more time.
    """
    with _packed(model, family, weights) if packed else _dense(model, family, weights):
        yield


@contextmanager
def _packed(
    model: nn.Module, family: Family, weights: Mapping[int, BlockWeights]
) -> Iterator[None]:
    blocks = decoder_blocks(model, family)
    linears = {
        (index, name): linear
        for index in weights
        for name, linear in block_linears(blocks[index], family).items()
    }
    changed = {index: BlockWeights({}, entry.changed) for index, entry in weights.items()}
    device = model.get_input_embeddings().weight.device  # type: ignore[operator]
    with _dense(model, family, changed):
        try:
            pack_model(
                model,
                family,
                {index: BlockWeights(entry.linears) for index, entry in weights.items()},
                device,
            )
            yield
        finally:
            for (index, name), linear in linears.items():
                blocks[index].set_submodule(name, linear)


@contextmanager
def _dense(model: nn.Module, family: Family, weights: Mapping[int, BlockWeights]) -> Iterator[None]:
    originals: list[tuple[Tensor, Tensor]] = []

    def put(parameter: Tensor, value: Tensor, label: str) -> None:
        if value.shape != parameter.shape:
            raise QuantizationError(
                f"{label}: the bank has {tuple(value.shape)}, the model {tuple(parameter.shape)}"
            )
        originals.append((parameter, parameter.data))
        parameter.data = value.to(device=parameter.device, dtype=parameter.dtype)

    blocks = decoder_blocks(model, family)
    try:
        for index, entry in weights.items():
            linears = block_linears(blocks[index], family)
            for name, packed in entry.linears.items():
                put(linears[name].weight, packed.dequantize(), f"block {index} {name}")
            for name, value in entry.changed.items():
                put(blocks[index].get_parameter(name), value, f"block {index} {name}")
        yield
    finally:
        with torch.no_grad():
            for parameter, original in reversed(originals):
                parameter.data = original
