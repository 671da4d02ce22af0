"""What a worker returns: dequantized weights and stored bytes, checked tensor by tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from harness.models.load import LoadedModel
from harness.variants.external.plain_model import PREFIX
from luq.decoder.blocks import BlockWeights
from luq.rounding.dense import DenseWeight, smallest_exact
from luq.types import QuantizationError, QuantizedWeight, require_finite

REPORT, WEIGHTS = "report.json", "weights.safetensors"


@dataclass(frozen=True)
class ExternalWeight(DenseWeight):
    """A weight that another library quantized.

    Attributes:
        weight: (out, in), dequantized.
        bits: Bits that the worker was asked for, as `paper_bits` counts them.
        declared_bytes: Bytes that its library stores for this weight.
    """

    format: ClassVar[str] = "external"
    bits: int = 0
    declared_bytes: int = 0

    @property
    def paper_bits(self) -> float:
        """Bits that the worker was asked for."""
        return float(self.bits)

    def header(self) -> dict[str, int]:
        """The stored fields that are no tensors."""
        return {"bits": self.bits, "declared_bytes": self.declared_bytes}


class _Report(BaseModel):
    """report.json of a worker."""

    model_config = ConfigDict(extra="forbid", strict=True)
    library: str
    tokens: int
    stored_bytes: dict[str, int]


def read_result(folder: Path, bits: int, loaded: LoadedModel) -> dict[int, BlockWeights]:
    """Read what a worker wrote.

    Args:
        folder: Where it wrote.
        bits: What it was asked for.
        loaded: The model that it quantized.

    Returns:
        Every decoder block, by index.

    Raises:
        QuantizationError: A file cannot be read, a tensor is missing, too many, of another shape or
            not finite, or the result cannot be one of quantization. The message follows the name of
            the worker.
    """
    try:
        report = _Report.model_validate_json((folder / REPORT).read_text(encoding="utf-8"))
        tensors = load_file(folder / WEIGHTS)
    except (OSError, ValidationError, SafetensorError, UnicodeDecodeError) as error:
        raise QuantizationError(
            f"wrote no readable result: {' '.join(str(error).split())[:300]}"
        ) from error
    if report.tokens < 1:
        raise QuantizationError(
            f"says that it used {report.tokens} calibration tokens: it must use those it is given"
        )
    blocks: dict[int, BlockWeights] = {}
    untouched = True
    for index, block in enumerate(loaded.blocks):
        prefix = f"{PREFIX}.{index}."
        names = [name for name in tensors if name.startswith(prefix)]
        own = {name.removeprefix(prefix): tensors.pop(name) for name in names}
        known = dict(block.named_parameters())
        for name in known.keys() & own.keys():
            _check(own[name], known[name], prefix + name)
        untouched = untouched and not any(
            f"{name}.weight" in own and _differs(own[f"{name}.weight"], known[f"{name}.weight"])
            for name in loaded.family.linears
        )
        linears: dict[str, QuantizedWeight] = {
            name: _linear(own.pop(f"{name}.weight", None), report, prefix + name, bits)
            for name in loaded.family.linears
        }
        blocks[index] = BlockWeights(linears, _changed(own, known, prefix))
    if tensors:
        raise QuantizationError(f"returned {min(tensors)}, which belongs to no decoder block")
    if untouched:
        raise QuantizationError("returned the weights of the model as they were: none is quantized")
    return blocks


def _linear(weight: Tensor | None, report: _Report, name: str, bits: int) -> ExternalWeight:
    size = report.stored_bytes.get(name)
    if weight is None or size is None:
        missing = "weight" if weight is None else "stored bytes"
        raise QuantizationError(f"returned no {missing} for {name}")
    if not 0 < size <= 4 * weight.numel():
        raise QuantizationError(
            f"says that {name} takes {size} bytes, which cannot be for {weight.numel()} weights"
        )
    if 16 * size < bits * weight.numel():
        raise QuantizationError(
            f"says that {name} takes {size} bytes for {weight.numel()} weights, less than half of"
            f" the {bits} bits a weight that it was asked for"
        )
    return ExternalWeight(smallest_exact(weight.float()), bits=bits, declared_bytes=size)


def _changed(
    own: Mapping[str, Tensor], known: Mapping[str, nn.Parameter], prefix: str
) -> dict[str, Tensor]:
    """Those parameters that are no linears and have other values than in the model."""
    unknown = sorted(own.keys() - known.keys())
    if unknown:
        raise QuantizationError(f"returned {prefix}{unknown[0]}, which the model does not have")
    return {name: value for name, value in own.items() if _differs(value, known[name])}


def _differs(value: Tensor, known: Tensor) -> bool:
    return not torch.equal(value.float(), known.detach().float().cpu())


def _check(tensor: Tensor, parameter: Tensor, name: str) -> None:
    if tensor.shape != parameter.shape or not tensor.is_floating_point():
        raise QuantizationError(
            f"returned {name} as {tuple(tensor.shape)} {tensor.dtype}; the model has"
            f" {tuple(parameter.shape)}"
        )
    require_finite(tensor, f"returned {name}, which")
