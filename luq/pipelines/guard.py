"""Call a quantizer that may be anyone's: it cannot change what it is given, nor return anything.

What all variants share (weights, Hessians, calibration inputs, settings, random states) stays what
it was, what comes back is a packed weight of the right shape that its stored parts rebuild, and
whatever is raised is a QuantizationError that names the quantizer.
"""

from __future__ import annotations

import copy
import random
import textwrap
import traceback
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from luq.decoder.blocks import BlockInput, BlockQuantizer, BlockWeights
from luq.decoder.families import Family, block_linears
from luq.quantizers.registry import rebuilt_as
from luq.types import LayerStats, QuantizationError, QuantizedWeight, Quantizer, require_finite

LONGEST = 400  # characters of another package's message


def _set_default_device(device: torch.device) -> None:
    torch.set_default_device(None if device.type == "cpu" else device)  # None costs nothing a call


# Settings that a quantizer may change for its own work: what reads each, and what sets it.
SETTINGS: tuple[tuple[Callable[[], Any], Callable[[Any], Any]], ...] = (
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_default_device, _set_default_device),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    *(
        (partial(getattr, torch.backends.cudnn, name), partial(setattr, torch.backends.cudnn, name))
        for name in ("deterministic", "benchmark", "allow_tf32")
    ),
)


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
        QuantizationError: The quantizer refuses the weight, raised anything else, wrote into the
            Hessian, or returned something else than a packed weight of this shape.
    """
    own = None if stats is None else _own_stats(stats, shared=_is_ours(type(quantizer)))
    with _state_kept(weight.device), _errors_named(quantizer):
        packed = _checked(quantizer(weight.detach().clone(), own), quantizer, tuple(weight.shape))
    if stats is not None and own is not None and not torch.equal(own.hessian, stats.hessian):
        raise QuantizationError(f"{quantizer.method} changed the Hessian; let it work on a copy")
    return packed


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
        QuantizationError: The quantizer refuses the block, raised anything else, wrote into an
            input, or did not return a packed weight of the right shape for every linear.
    """
    before = _checksums([(one.state, one.context) for one in inputs])
    own = copy.deepcopy(block)
    with _state_kept(next(block.parameters()).device), _errors_named(quantizer, "all linears: "):
        result = _checked_block(
            quantizer.quantize_block(own, family, inputs), quantizer, block, family
        )
    if before != _checksums([(one.state, one.context) for one in inputs]):
        raise QuantizationError(f"inputs: {quantizer.method} changed them; let it work on copies")
    return result


def _checked_block(
    result: Any, quantizer: BlockQuantizer, block: nn.Module, family: Family
) -> BlockWeights:
    """Return what a quantizer returned, if it is a packed weight for every linear of the block."""
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
def _state_kept(device: torch.device) -> Iterator[None]:
    """Restore settings, gradient mode and random states (Python, NumPy, CPU, device) at the end."""
    settings = [(read, put, read()) for read, put in SETTINGS]
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        for read, put, value in settings:
            if read() != value:
                put(value)
        random.setstate(python)
        np.random.set_state(numpy)


@contextmanager
def _errors_named(quantizer: Quantizer, where: str = "") -> Iterator[None]:
    """Make a QuantizationError of whatever a quantizer raises, with its name and the line."""
    try:
        yield
    except QuantizationError:
        raise
    except Exception as error:
        raise QuantizationError(
            f"{where}{quantizer.method} raised {type(error).__name__}:"
            f" {textwrap.shorten(str(error), LONGEST)}{_line(error, type(quantizer))}"
        ) from error


def _line(error: Exception, cls: type) -> str:
    """Return the last line of the package of a class that an error went through, or ""."""
    top = cls.__module__.split(".")[0]
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        module = str(frame.f_globals.get("__name__"))
        if module.split(".")[0] == top:
            return f" (in {frame.f_code.co_name} of {module}, line {line})"
    return ""


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
