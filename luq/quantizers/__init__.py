"""The registry: one published method a file. A new one is one file here and one line below."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from luq.quantizers.billm import BiLLM, BinaryWeight
from luq.quantizers.gptq import GPTQ
from luq.quantizers.grids import GridWeight
from luq.quantizers.pbllm import PBLLM, PartialWeight
from luq.quantizers.rtn import RTN
from luq.quantizers.sage import SAGE, GroupedWeight
from luq.types import Event, QuantizationError, QuantizedWeight, Quantizer

QUANTIZERS: dict[str, type] = {cls.method: cls for cls in (RTN, GPTQ, BiLLM, PBLLM, SAGE)}
FORMATS: dict[str, type] = {cls.format: cls for cls in (GridWeight, BinaryWeight, PartialWeight, GroupedWeight)}


def build_quantizer(method: str, options: Mapping[str, Any]) -> Quantizer:
    """The quantizer of that name with those fields. Raises ValueError that lists what exists."""
    if method not in QUANTIZERS:
        raise ValueError(f"unknown quantizer {method!r}; choose one of {', '.join(sorted(QUANTIZERS))}")
    cls = QUANTIZERS[method]
    known = {f.name: f for f in dataclasses.fields(cls)}
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f"{method} has no option {', '.join(unknown)}; it has {', '.join(known)}")
    built: Quantizer = cls(**options)
    return built


def describe_quantizer(quantizer: Quantizer) -> dict[str, Any]:
    """Method name and every field: what a digest is made of."""
    return {"method": quantizer.method, **dataclasses.asdict(quantizer)}  # type: ignore[call-overload]


def rebuild_weight(name: str, header: Mapping[str, Any], tensors: Mapping[str, Tensor], events: tuple[Event, ...] = ()) -> QuantizedWeight:
    """The packed weight of format `name` from what was stored. Raises QuantizationError when fields are missing or too many."""
    if name not in FORMATS:
        raise QuantizationError(f"unknown weight format {name!r}; this version knows {', '.join(sorted(FORMATS))}")
    cls = FORMATS[name]
    names = {f.name for f in dataclasses.fields(cls)} - {"events"}
    optional = {f.name for f in dataclasses.fields(cls) if "None" in str(f.type)}
    given = set(header) | set(tensors)
    if given - names or (names - optional) - given:
        raise QuantizationError(f"a {name} weight has the parts {sorted(names)}, found {sorted(given)}")
    rebuilt: QuantizedWeight = cls(**header, **{o: None for o in optional if o not in tensors}, **tensors, events=events)
    return rebuilt
