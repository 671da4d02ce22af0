"""Call a quantizer that may be anyone's: it cannot change what it is given, nor return anything.

What all variants share (weights, Hessians, calibration inputs, torch's state) stays what it was,
and what comes back is a packed weight of the right shape that its stored parts rebuild.
"""

from __future__ import annotations

import copy
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from luq.decoder.blocks import BlockInput, BlockQuantizer, BlockWeights
from luq.decoder.families import Family, block_linears
from luq.quantizers.registry import rebuilt_as
from luq.types import LayerStats, QuantizationError, QuantizedWeight, Quantizer, require_finite


def quantized_weight(
    quantizer: Quantizer, weight: Tensor, stats: LayerStats | None
) -> QuantizedWeight:
    """Return what a quantizer makes of one weight.

    The quantizer works on copies of the weight and of the Hessian; one of another package also on
    copies of the factors, which the methods of luq share.

    Args:
        quantizer: the method.
        weight: (out, in); not changed.
        stats: statistics of the layer; not changed, but for new factors of luq's own methods.

    Raises:
        QuantizationError: The quantizer refuses the weight, wrote into the Hessian, or returned
            something else than a packed weight of this shape.
    """
    own = None if stats is None else _own_stats(stats, shared=_is_ours(type(quantizer)))
    with _torch_state(weight.device):
        packed: Any = quantizer(weight.detach().clone(), own)
    if stats is not None and own is not None and not torch.equal(own.hessian, stats.hessian):
        raise QuantizationError(f"{quantizer.method} changed the Hessian; let it work on a copy")
    return _checked(packed, quantizer, tuple(weight.shape))


def quantized_block(
    quantizer: BlockQuantizer, block: nn.Module, family: Family, inputs: Sequence[BlockInput]
) -> BlockWeights:
    """Return what a quantizer makes of a block; it works on a copy of the block.

    Args:
        quantizer: the method.
        block: not changed.
        family: the model's family.
        inputs: the block's calibration inputs; not changed.

    Raises:
        QuantizationError: The quantizer refuses the block, wrote into an input, or did not return
            a packed weight of the right shape for every linear.
    """
    before = _checksums([(one.state, one.context) for one in inputs])
    with _torch_state(next(block.parameters()).device):
        result: Any = quantizer.quantize_block(copy.deepcopy(block), family, inputs)
    if before != _checksums([(one.state, one.context) for one in inputs]):
        raise QuantizationError(f"inputs: {quantizer.method} changed them; let it work on copies")
    linears = block_linears(block, family)
    if not isinstance(result, BlockWeights) or result.linears.keys() != linears.keys():
        raise QuantizationError(
            f"result: {quantizer.method} returned {_described(result)}; it must return BlockWeights"
            f" with {', '.join(linears)}"
        )
    for name, linear in linears.items():
        try:
            _checked(result.linears[name], quantizer, tuple(linear.weight.shape))
        except QuantizationError as error:
            raise QuantizationError(f"{name}: {error}") from error
    parameters = dict(block.named_parameters())
    for name, value in result.changed.items():
        known = parameters.get(name)
        if known is None or value.shape != known.shape:
            raise QuantizationError(f"{name}: {quantizer.method} returned no such parameter")
    return result


def _own_stats(stats: LayerStats, *, shared: bool) -> LayerStats:
    factors = stats.factors
    if not shared:
        factors = {
            name: replace(factor, upper=factor.upper.clone())
            for name, factor in stats.factors.items()
        }
    return replace(stats, hessian=stats.hessian.clone(), factors=factors)


def _is_ours(cls: type) -> bool:
    return cls.__module__.startswith("luq.")


@contextmanager
def _torch_state(device: torch.device) -> Iterator[None]:
    """Restore torch's default type, gradient mode and random state (CPU, device) at the end."""
    dtype = torch.get_default_dtype()
    try:
        with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        torch.set_default_dtype(dtype)


def _checksums(value: Any) -> list[int]:
    """Return a checksum of each tensor in nested arguments of a block."""
    if isinstance(value, Tensor):
        flat = value.detach().cpu().contiguous().reshape(-1)
        return [zlib.crc32(flat.view(torch.uint8).numpy().tobytes())]
    parts = value.values() if isinstance(value, Mapping) else value
    nested = isinstance(value, Mapping | list | tuple)
    return [one for part in parts for one in _checksums(part)] if nested else []


def _checked(packed: Any, quantizer: Quantizer, shape: tuple[int, ...]) -> QuantizedWeight:
    """Return what a quantizer returned, if it is a packed weight of this shape (out, in)."""
    name = quantizer.method
    known: Any = tuple(quantizer.formats)
    if not isinstance(packed, known):
        formats = " or ".join(cls.__name__ for cls in quantizer.formats)
        raise QuantizationError(f"{name} returned {_described(packed)}; it must return {formats}")
    if tuple(packed.shape) != shape:
        raise QuantizationError(
            f"{name} returned a weight of shape {tuple(packed.shape)}; the layer has {shape}"
        )
    if not _is_ours(type(packed)):  # those of luq are tested for this
        _require_rebuilt(packed, name)
    weight: QuantizedWeight = packed
    return weight


def _require_rebuilt(packed: QuantizedWeight, method: str) -> None:
    """Raise QuantizationError unless the stored parts alone rebuild the weight."""
    try:
        tensors = {part: tensor.clone() for part, tensor in packed.tensors().items()}
        value = rebuilt_as(type(packed), packed.header(), tensors).dequantize()
        same = value.shape == packed.shape and torch.equal(value, packed.dequantize())
    except Exception as error:
        raise QuantizationError(
            f"{method} returned a weight that cannot be rebuilt from its stored parts:"
            f" {type(error).__name__}: {error}"
        ) from error
    if not same:
        raise QuantizationError(
            f"{method} returned a weight that is another one once it is rebuilt from its stored"
            " parts"
        )
    require_finite(value, f"what {method} returned")


def _described(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return "nothing" if value is None else f"a {type(value).__name__}"
