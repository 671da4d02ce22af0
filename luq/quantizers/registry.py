"""The registry: one published method a file.

A new one is one file here and one line below, or an entry point of another package in the group
`luq.quantizers` whose object is the quantizer's class.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from torch import Tensor

from luq.quantizers.awq import AWQ
from luq.quantizers.billm import BiLLM, BinaryWeight
from luq.quantizers.gptq import GPTQ
from luq.quantizers.keep import DenseWeight, Keep
from luq.quantizers.pbllm import PBLLM, PartialWeight
from luq.quantizers.rtn import RTN
from luq.quantizers.sage import SAGE, GroupedWeight
from luq.rounding.grids import GridWeight
from luq.types import Event, OptionError, QuantizationError, QuantizedWeight, Quantizer

__all__ = [
    "AWQ",
    "GPTQ",
    "PBLLM",
    "RTN",
    "SAGE",
    "BiLLM",
    "Keep",
    "build_quantizer",
    "describe_quantizer",
    "rebuild_weight",
]

GROUP = "luq.quantizers"
QUANTIZERS: dict[str, type] = {
    cls.method: cls for cls in (Keep, RTN, GPTQ, AWQ, BiLLM, PBLLM, SAGE)
}
FORMATS: dict[str, type] = {
    cls.format: cls for cls in (DenseWeight, GridWeight, BinaryWeight, PartialWeight, GroupedWeight)
}


@functools.cache
def installed_quantizers() -> dict[str, type]:
    """Quantizers of other packages by method name.

    Raises ValueError for one that takes a name which exists, or is no quantizer.
    """
    found: dict[str, type] = {}
    for point in entry_points(group=GROUP):
        cls = point.load()
        name = getattr(cls, "method", None)
        if not (
            isinstance(cls, type)
            and dataclasses.is_dataclass(cls)
            and isinstance(name, str)
            and hasattr(cls, "needs_stats")
        ):
            raise ValueError(
                f"entry point {point.name} ({point.value}) is no quantizer: it must be a frozen"
                " dataclass with method and needs_stats"
            )
        if name in QUANTIZERS or name in found:
            raise ValueError(
                f"entry point {point.name} ({point.value}) is called {name!r}, and so is another"
                " quantizer; rename one"
            )
        found[name] = cls
    return found


def build_quantizer(method: str, options: Mapping[str, Any]) -> Quantizer:
    """The quantizer of that name with those fields. Raises OptionError that lists what exists."""
    known_methods = QUANTIZERS if method in QUANTIZERS else {**QUANTIZERS, **installed_quantizers()}
    if method not in known_methods:
        raise OptionError(
            f"unknown quantizer {method!r}; choose one of {', '.join(sorted(known_methods))}"
        )
    cls = known_methods[method]
    known = {f.name: f for f in dataclasses.fields(cls)}
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise OptionError(f"{method} has no option {', '.join(unknown)}; it has {', '.join(known)}")
    built: Quantizer = cls(**options)
    return built


def describe_quantizer(quantizer: Quantizer) -> dict[str, Any]:
    """Method name and every field: what a digest is made of."""
    return {"method": quantizer.method, **dataclasses.asdict(quantizer)}  # type: ignore[call-overload]


def rebuild_weight(
    name: str,
    header: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    events: tuple[Event, ...] = (),
) -> QuantizedWeight:
    """The packed weight of format `name` from what was stored.

    Raises QuantizationError when fields are missing or too many.

    A quantizer of another package names the formats that it brings in its attribute `formats`.
    """
    brought = (f for cls in installed_quantizers().values() for f in getattr(cls, "formats", ()))
    cls = FORMATS.get(name) or next((f for f in brought if f.format == name), None)
    if cls is None:
        raise QuantizationError(
            f"unknown weight format {name!r}; this version knows {', '.join(sorted(FORMATS))}"
        )
    names = {f.name for f in dataclasses.fields(cls)} - {"events"}
    optional = {f.name for f in dataclasses.fields(cls) if "None" in str(f.type)}
    given = set(header) | set(tensors)
    if given - names or (names - optional) - given:
        raise QuantizationError(
            f"a {name} weight has the parts {sorted(names)}, found {sorted(given)}"
        )
    rebuilt: QuantizedWeight = cls(
        **header, **{o: None for o in optional if o not in tensors}, **tensors, events=events
    )
    return rebuilt
