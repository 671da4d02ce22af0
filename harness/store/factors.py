"""Statistics of decoder blocks and the factors of their Hessians, as store entries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from harness.store import digest
from harness.store.store import Store
from luq.calibration.hessian import summed
from luq.types import Factor, LayerStats


def save_stats(store: Store, key: str, stats: Mapping[str, LayerStats]) -> None:
    """Store the statistics of one block.

    Args:
        store: Where to.
        key: Digest of everything that the statistics depend on.
        stats: By linear. Linears with a common input share one object; its Hessian is stored once.
    """
    tensors: dict[str, Tensor] = {}
    linears: dict[str, dict[str, Any]] = {}
    owners: dict[int, str] = {}
    for name, layer in stats.items():
        owner = owners.setdefault(id(layer.hessian), name)
        tensors.setdefault(owner, layer.hessian)
        linears[name] = {"hessian": owner, "tokens": layer.tokens, "inputs": layer.inputs}
    store.save_tensors("stats", key, tensors, {"linears": linears})


def load_stats(store: Store, key: str) -> dict[str, LayerStats] | None:
    """What `save_stats` stored; None where it is absent or was damaged."""
    entry = store.load_tensors("stats", key)
    if entry is None:
        return None
    tensors, meta = entry
    shared: dict[str, LayerStats] = {}
    for linear in meta["linears"].values():
        owner = linear["hessian"]
        if owner not in shared:
            shared[owner] = LayerStats(tensors[owner], linear["tokens"], linear["inputs"])
    return {name: shared[linear["hessian"]] for name, linear in meta["linears"].items()}


def sum_stats(parts: Sequence[Mapping[str, LayerStats]]) -> dict[str, LayerStats]:
    """The statistics of one block over all parts of a calibration.

    Args:
        parts: Statistics of each part, by linear.

    Returns:
        By linear. Linears with a common input share one object.
    """
    shared: dict[int, LayerStats] = {}
    for name, first in parts[0].items():
        if id(first) not in shared:
            shared[id(first)] = summed([part[name] for part in parts])
    return {name: shared[id(first)] for name, first in parts[0].items()}


def save_factors(store: Store, key: str, stats: Mapping[str, LayerStats]) -> None:
    """Store the factors that quantizers added to the statistics of one block, unless they are.

    Args:
        store: Where to.
        key: Digest of everything that the statistics depend on.
        stats: By linear, as `sum_stats` gave them.
    """
    for linear, layer in _distinct(stats):
        for name, factor in layer.factors.items():
            entry = _factor_key(key, linear, name)
            if not store.has("factors", entry):
                store.save_tensors(
                    "factors", entry, {"upper": factor.upper}, {"damping": factor.damping}
                )


def load_factors(
    store: Store, key: str, stats: Mapping[str, LayerStats], names: Iterable[str]
) -> None:
    """Add stored factors to the statistics of one block; those that are absent are left out.

    Args:
        store: Where from.
        key: As it was given to `save_factors`.
        stats: By linear, as `sum_stats` gave them.
        names: Which factors, see `luq.types.LayerStats`.
    """
    wanted = list(names)
    for linear, layer in _distinct(stats):
        for name in wanted:
            entry = store.load_tensors("factors", _factor_key(key, linear, name))
            if entry is not None:
                tensors, meta = entry
                layer.factors[name] = Factor(tensors["upper"], float(meta["damping"]))


def _distinct(stats: Mapping[str, LayerStats]) -> list[tuple[str, LayerStats]]:
    """Each object of the statistics once, with the first linear that it belongs to."""
    first: dict[int, tuple[str, LayerStats]] = {}
    for name, layer in stats.items():
        first.setdefault(id(layer), (name, layer))
    return list(first.values())


def _factor_key(key: str, linear: str, name: str) -> str:
    return digest.of_value([f"{key}/{linear}", name])
