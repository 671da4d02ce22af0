"""Types and errors that all of luq shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor


class QuantizationError(RuntimeError):
    """A layer cannot be quantized, calibrated or rebuilt.

    The message names the layer, the cause and what to do.
    """


class OptionError(QuantizationError, ValueError):
    """A quantizer or a plan does not accept this option."""


class UnknownFormat(QuantizationError):
    """A packed weight has a format that no installed package defines.

    The weight is not damaged: the package that made it is missing.
    """


class RegistrationError(ValueError):
    """A class cannot be registered as a quantizer."""


@dataclass(frozen=True)
class Factor:
    """A factor of an inverse Hessian.

    Attributes:
        upper: (in, in) float32, upper triangular U with (H + λI)⁻¹ = UᵀU.
        damping: λ as a share of the mean diagonal of H, after any increase.
    """

    upper: Tensor
    damping: float


@dataclass(frozen=True)
class LayerStats:
    """Calibration statistics of one linear layer.

    Attributes:
        hessian: (in, in) float32, the mean over tokens of x xᵀ for inputs x of the layer.
        tokens: number of tokens in the mean.
        inputs: "fp" if all earlier blocks ran in full precision; only such statistics do not
            depend on the plan.
        factors: factors of the Hessian by name, each added by the first method that needs it.
            Linears with a common input share one object, so that each factor is computed once for
            all of them and for all methods.
    """

    hessian: Tensor
    tokens: int
    inputs: str = "fp"
    factors: dict[str, Factor] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True)
class Event:
    """Something a quantizer had to do that the user should know, such as an increased damping.

    Attributes:
        kind: a short fixed word.
        detail: the numbers, for a reader.
    """

    kind: str
    detail: str


@runtime_checkable
class QuantizedWeight(Protocol):
    """A packed weight: the tensors needed to rebuild it, and nothing else.

    Attributes:
        format: name of the format, unique among all registered quantizers.
    """

    format: ClassVar[str]

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in) of the weight."""
        ...

    @property
    def paper_bits(self) -> float:
        """Bits per weight as the method's paper counts them."""
        ...

    @property
    def events(self) -> tuple[Event, ...]:
        """What the user should know about this weight; not part of the stored tensors."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Return the stored tensors, bit-packed, by field name."""
        ...

    def header(self) -> Mapping[str, object]:
        """Return the other stored fields: JSON values such as sizes and bits."""
        ...

    def dequantize(self) -> Tensor:
        """Return the rebuilt weight, (out, in) float32."""
        ...


class Quantizer(Protocol):
    """A quantization method with its options, as a frozen dataclass.

    The fields are the method's options: its keys in a configuration and its part of every digest.
    A class may also have these attributes:

    - `paper`: where the method was published, for tables.
    - `contract_options`: sets of options on which the contract is tested; the defaults if absent.
    - `needs_inputs` and `quantize_block`, see `luq.decoder.blocks.BlockQuantizer`.

    Attributes:
        method: name of the method, unique among all registered quantizers.
        formats: classes of the packed weights that the method returns.
    """

    method: ClassVar[str]
    formats: ClassVar[tuple[type[QuantizedWeight], ...]]

    @property
    def needs_stats(self) -> bool:
        """Whether the method uses calibration statistics."""
        ...

    def __call__(self, weight: Tensor, stats: LayerStats | None) -> QuantizedWeight:
        """Quantize one weight. Equal arguments give equal bits; no argument is written to.

        Args:
            weight: (out, in), any floating-point type.
            stats: statistics of the layer; None where the method does not need them.

        Raises:
            QuantizationError: The weight cannot be quantized. There is no silent fallback.
        """
        ...

    def __hash__(self) -> int: ...


def on_device(weight: QuantizedWeight, device: torch.device) -> QuantizedWeight:
    """Return the packed weight with its tensors on `device`."""
    moved = {name: tensor.to(device) for name, tensor in weight.tensors().items()}
    return replace(weight, **moved)  # type: ignore[type-var]


def stored_bytes(weight: QuantizedWeight) -> int:
    """Return the bytes of all stored tensors.

    A weight packed by another library declares what that library stores in `declared_bytes`.
    """
    declared = getattr(weight, "declared_bytes", None)
    if declared is not None:
        return int(declared)
    return sum(t.numel() * t.element_size() for t in weight.tensors().values())


def stored_bits(weight: QuantizedWeight) -> float:
    """Return the stored bits per weight: 8 * bytes / weights."""
    out, inner = weight.shape
    return 8 * stored_bytes(weight) / (out * inner)


def require_finite(tensor: Tensor, what: str) -> None:
    """Raise QuantizationError that names `what` unless every element is finite."""
    if not bool(torch.isfinite(tensor).all()):
        bad = int((~torch.isfinite(tensor)).sum())
        raise QuantizationError(
            f"{what} holds {bad} NaN or infinite values of {tensor.numel()}; find what produced"
            " them before quantizing"
        )
