"""What the bank keeps, as store entries: quantized blocks, statistics of blocks, factors of their
Hessians.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from harness.store import digest
from harness.store.store import Store
from luq.calibration.hessian import summed
from luq.decoder.blocks import BlockWeights, needs_calibration
from luq.pipelines.sequential import Prefix
from luq.quantizers.registry import describe_quantizer, rebuild_weight
from luq.types import Event, Factor, LayerStats, QuantizationError, Quantizer

CHANGED = "changed"


class StoredBank:
    """The bank's entries of one model and one calibration. origin: `MODEL/CALIBRATION`."""

    def __init__(self, store: Store, origin: str):
        self.store, self.origin = store, origin

    def key(self, block: int, quantizer: Quantizer, prefix: Prefix = ()) -> str:
        """prefix: quantizers of the blocks before it, where it was calibrated behind them."""
        # What needs no calibration does not depend on it; its origin is the model alone.
        origin = self.origin if needs_calibration(quantizer) else self.origin.split("/")[0]
        parts: dict[str, Any] = {
            "origin": origin,
            "block": block,
            "quantizer": describe_quantizer(quantizer),
        }
        # Behind blocks in full precision there is no difference, nor for a program that quantizes
        # whole models by itself.
        if (
            any(prefix)
            and needs_calibration(quantizer)
            and not getattr(quantizer, "whole_model", False)
        ):
            parts["behind"] = [describe_quantizer(q) if q is not None else None for q in prefix]
        return digest.of_value(parts)

    def has(self, block: int, quantizer: Quantizer) -> bool:
        return self.store.has("bank", self.key(block, quantizer))

    def load(self, block: int, quantizer: Quantizer) -> BlockWeights | None:
        return self._load(self.key(block, quantizer))

    def load_behind(self, prefix: Prefix, quantizer: Quantizer) -> BlockWeights | None:
        return self._load(self.key(len(prefix), quantizer, prefix))

    def _load(self, key: str) -> BlockWeights | None:
        found = self.store.load_tensors("bank", key)
        if found is None:
            return None
        try:
            return from_tensors(*found)
        except (QuantizationError, KeyError, TypeError) as error:
            self.store.set_aside("bank", key, str(error))
            return None

    def save(self, block: int, quantizer: Quantizer, weights: BlockWeights) -> None:
        self._save(self.key(block, quantizer), block, quantizer, weights)

    def save_behind(self, prefix: Prefix, quantizer: Quantizer, weights: BlockWeights) -> None:
        self._save(self.key(len(prefix), quantizer, prefix), len(prefix), quantizer, weights)

    def _save(self, key: str, block: int, quantizer: Quantizer, weights: BlockWeights) -> None:
        tensors, meta = to_tensors(weights)
        meta |= {"block": block, "quantizer": describe_quantizer(quantizer)}
        self.store.save_tensors("bank", key, tensors, meta)


def to_tensors(weights: BlockWeights) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors, what JSON must say of them) of a block; `from_tensors` is the inverse."""
    tensors = {
        f"{name}.{part}": tensor
        for name, w in weights.linears.items()
        for part, tensor in w.tensors().items()
    }
    tensors |= {f"{CHANGED}.{name}": tensor for name, tensor in weights.changed.items()}
    linears = {
        name: {
            "format": w.format,
            "header": w.header(),
            "events": [[e.kind, e.detail] for e in w.events],
        }
        for name, w in weights.linears.items()
    }
    return tensors, {"linears": linears}


def from_tensors(tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> BlockWeights:
    """Raises QuantizationError, KeyError or TypeError for what does not fit together."""
    linears = {}
    for name, entry in meta["linears"].items():
        events = tuple(Event(*event) for event in entry["events"])
        linears[name] = rebuild_weight(
            entry["format"], entry["header"], _below(name, tensors), events
        )
    return BlockWeights(linears, _below(CHANGED, tensors))


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        key.removeprefix(f"{prefix}."): tensor
        for key, tensor in tensors.items()
        if key.startswith(f"{prefix}.")
    }


class StoredFactors:
    """Factors of one stored Hessian; what was read or computed stays in memory as long as the
    statistics do.
    """

    def __init__(self, store: Store, hessian: str):
        self.store, self.hessian = store, hessian
        self.known: dict[str, Factor] = {}

    def _key(self, name: str) -> str:
        return digest.of_value([self.hessian, name])

    def load(self, name: str) -> Factor | None:
        if name not in self.known:
            found = self.store.load_tensors("factors", self._key(name))
            if found is None:
                return None
            self.known[name] = Factor(found[0]["upper"], float(found[1]["damping"]))
        return self.known[name]

    def save(self, name: str, factor: Factor) -> None:
        self.known[name] = factor
        if not self.store.has("factors", self._key(name)):
            self.store.save_tensors(
                "factors", self._key(name), {"upper": factor.upper}, {"damping": factor.damping}
            )


def save_stats(store: Store, key: str, stats: Mapping[str, LayerStats]) -> None:
    """Statistics of one block; linears with a common input share one stored Hessian."""
    tensors: dict[str, Tensor] = {}
    linears: dict[str, dict[str, Any]] = {}
    names: dict[int, str] = {}
    for name, layer in stats.items():
        owner = names.setdefault(id(layer.hessian), name)
        tensors.setdefault(owner, layer.hessian)
        linears[name] = {"hessian": owner, "tokens": layer.tokens, "inputs": layer.inputs}
    store.save_tensors("stats", key, tensors, {"linears": linears})


def load_stats(store: Store, key: str) -> dict[str, LayerStats] | None:
    """What `save_stats` wrote: linears with a common input share one object."""
    found = store.load_tensors("stats", key)
    if found is None:
        return None
    tensors, meta = found
    shared: dict[str, LayerStats] = {}
    for entry in meta["linears"].values():
        owner = entry["hessian"]
        if owner not in shared:
            shared[owner] = LayerStats(tensors[owner], entry["tokens"], entry["inputs"])
    return {name: shared[entry["hessian"]] for name, entry in meta["linears"].items()}


def sum_stats(
    store: Store, key: str, parts: Sequence[Mapping[str, LayerStats]]
) -> dict[str, LayerStats]:
    """Statistics of all parts of a calibration together, with factors that are kept under `key`;
    linears with a common input share both.
    """
    shared: dict[int, LayerStats] = {}
    found: dict[str, LayerStats] = {}
    for name, first in parts[0].items():
        if id(first) not in shared:
            total = summed([part[name] for part in parts])
            shared[id(first)] = replace(total, factors=StoredFactors(store, f"{key}/{name}"))
        found[name] = shared[id(first)]
    return found
