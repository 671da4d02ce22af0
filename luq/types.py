"""The nouns that everyone shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor


class QuantizationError(RuntimeError):
    """A layer cannot be quantized, captured or rebuilt.

    The message names the layer, the cause and what to do.
    """


class OptionError(QuantizationError, ValueError):
    """A quantizer cannot have this option."""


@dataclass(frozen=True)
class Factor:
    """upper:

    (in, in) float32 triangular U with (H + λI)⁻¹ = UᵀU. damping: λ as a share of the mean diagonal,
    as it was really needed.
    """

    upper: Tensor
    damping: float


class FactorStorage(Protocol):
    """Where the factors of one Hessian are kept. load returns None for one that is absent."""

    def load(self, name: str) -> Factor | None: ...
    def save(self, name: str, factor: Factor) -> None: ...


class FactorMemory:
    """Factors of one Hessian in memory."""

    def __init__(self) -> None:
        self.factors: dict[str, Factor] = {}

    def load(self, name: str) -> Factor | None:
        return self.factors.get(name)

    def save(self, name: str, factor: Factor) -> None:
        self.factors[name] = factor


@dataclass(frozen=True)
class LayerStats:
    """What calibration knows about one linear layer.

    hessian: (in, in) float32, the mean over tokens of x xᵀ. tokens: how many are behind it. inputs:
    "fp" when every earlier layer ran in full precision; only such statistics do not depend on the
    plan. factors: of the Hessian, computed once: linears with a common input share one object, and
    so do all methods that work on it.
    """

    hessian: Tensor
    tokens: int
    inputs: str = "fp"
    factors: FactorStorage = field(default_factory=FactorMemory, compare=False, repr=False)


@dataclass(frozen=True)
class Event:
    """Something a quantizer had to do and the user must hear of, such as a raised damping. kind: a
    short fixed word.
    """

    kind: str
    detail: str


@runtime_checkable
class QuantizedWeight(Protocol):
    """A packed weight: every tensor needed to rebuild it, and nothing else.

    format: name in `packing.FORMATS`. tensors: what is stored, bit-packed. shape: (out, in) of the
    weight. paper_bits: bits per weight as the method's paper counts them. events: see `Event`; they
    are told, not stored with the weight.
    """

    format: ClassVar[str]

    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def paper_bits(self) -> float: ...
    @property
    def events(self) -> tuple[Event, ...]: ...
    def tensors(self) -> dict[str, Tensor]: ...
    def header(self) -> dict[str, Any]: ...
    def dequantize(self) -> Tensor: ...


class Quantizer(Protocol):
    """A frozen dataclass: its fields are its YAML keys and its digest.

    Pure: equal arguments give equal bits.

    weight: (out, in) floating point. stats: what calibration knows, None where the method needs
    nothing. Raises QuantizationError; never falls back in silence.
    """

    method: ClassVar[str]
    needs_stats: ClassVar[bool]

    def __call__(self, weight: Tensor, stats: LayerStats | None) -> QuantizedWeight: ...
    def __hash__(self) -> int: ...


def on_device(weight: QuantizedWeight, device: torch.device) -> QuantizedWeight:
    """The same packed weight with its tensors on `device`."""
    moved = {name: tensor.to(device) for name, tensor in weight.tensors().items()}
    return replace(weight, **moved)  # type: ignore[type-var]


def stored_bytes(weight: QuantizedWeight) -> int:
    """Bytes of every tensor that is kept; for a weight that another library packed, what that
    library needs.
    """
    declared = getattr(weight, "declared_bytes", None)
    if declared is not None:
        return int(declared)
    return sum(t.numel() * t.element_size() for t in weight.tensors().values())


def stored_bits(weight: QuantizedWeight) -> float:
    """Bits that are really kept per weight."""
    out, inner = weight.shape
    return 8 * stored_bytes(weight) / (out * inner)


@dataclass(frozen=True)
class Plan:
    """Which quantizer each decoder block gets:

    `methods[name]` for the name in `blocks[i]`; the name "none" keeps a block as it is.
    """

    blocks: tuple[str, ...]
    methods: Mapping[str, Quantizer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        missing = {name for name in self.blocks if name != "none"} - set(self.methods)
        if missing:
            raise ValueError(
                f"the plan names {sorted(missing)}, which it does not define; it defines"
                f" {sorted(self.methods)}"
            )


def require_finite(tensor: Tensor, what: str) -> None:
    """Raise QuantizationError, naming `what`, unless every element is finite."""
    if not bool(torch.isfinite(tensor).all()):
        bad = int((~torch.isfinite(tensor)).sum())
        raise QuantizationError(
            f"{what} holds {bad} NaN or infinite values of {tensor.numel()}; find what produced"
            " them before quantizing"
        )
