"""Put quantized weights into a model, and restore the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

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
    """Put quantized weights into the model inside the context; see `apply_weights`.

    Afterwards the model is bit for bit what it was, also after an exception.
    """
    with apply_weights(model, family, weights, packed=packed):
        yield


def apply_weights(
    model: nn.Module, family: Family, weights: Mapping[int, BlockWeights], *, packed: bool = False
) -> ExitStack:
    """Put quantized weights into the model.

    Args:
        model: changed in place. If this function raises, it is what it was before.
        family: the model's family.
        weights: by block; other blocks stay as they are.
        packed: replace linears by `PackedLinear` modules, which dequantize for every call: the same
            values in less memory, at more time. Otherwise linears get the dequantized weight in
            their own dtype.

    Returns:
        A stack of callbacks that hold the original tensors. `close()` restores the model bit for
        bit; `pop_all()` drops the originals.

    Raises:
        QuantizationError: A weight has another shape than in the model, or is packed already.
    """
    with ExitStack() as undo:
        if packed:
            _apply_packed(model, family, weights, undo)
        else:
            _apply_dense(model, family, weights, undo)
        return undo.pop_all()


def _apply_packed(
    model: nn.Module, family: Family, weights: Mapping[int, BlockWeights], undo: ExitStack
) -> None:
    blocks = decoder_blocks(model, family)
    changed = {index: BlockWeights({}, entry.changed) for index, entry in weights.items()}
    _apply_dense(model, family, changed, undo)
    for index in weights:
        for name, linear in block_linears(blocks[index], family).items():
            undo.callback(blocks[index].set_submodule, name, linear)
    device = model.get_input_embeddings().weight.device  # type: ignore[operator]
    pack_model(model, family, weights, device)


def _apply_dense(
    model: nn.Module, family: Family, weights: Mapping[int, BlockWeights], undo: ExitStack
) -> None:
    blocks = decoder_blocks(model, family)
    for index, entry in weights.items():
        linears = block_linears(blocks[index], family)
        for name, packed in entry.linears.items():
            _replace(linears[name].weight, packed.dequantize(), f"block {index} {name}", undo)
        for name, value in entry.changed.items():
            parameter = blocks[index].get_parameter(name)
            _replace(parameter, value, f"block {index} {name}", undo)


def _replace(parameter: Tensor, value: Tensor, label: str, undo: ExitStack) -> None:
    if value.shape != parameter.shape:
        raise QuantizationError(
            f"{label}: the bank has {tuple(value.shape)}, the model {tuple(parameter.shape)}"
        )
    undo.callback(_set_data, parameter, parameter.data)
    _set_data(parameter, value.to(device=parameter.device, dtype=parameter.dtype))


def _set_data(parameter: Tensor, data: Tensor) -> None:
    with torch.no_grad():
        parameter.data = data
