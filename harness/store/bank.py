"""The bank: quantized decoder blocks as store entries, each made once for all variants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from harness.store import digest
from harness.store.store import Store
from luq.decoder.blocks import BlockWeights, needs_calibration
from luq.pipelines.sequential import Prefix
from luq.quantizers.registry import quantizer_identity, rebuild_weight
from luq.types import Event, QuantizationError, Quantizer, UnknownFormat

CHANGED = "changed"


class StoredBank:
    """The bank's entries of one model and one calibration.

    It is a `luq.pipelines` storage, for blocks calibrated on full-precision inputs as for those
    calibrated behind quantized blocks.

    Args:
        store: Where the entries are.
        origin: Digest `MODEL/CALIBRATION` of what the statistics come from.
    """

    def __init__(self, store: Store, origin: str):
        self.store, self.origin = store, origin

    def key(self, block: int, quantizer: Quantizer, prefix: Prefix = ()) -> str:
        """The key of an entry: a digest of everything that its content depends on.

        Args:
            block: Number of the decoder block.
            quantizer: What quantizes it.
            prefix: Quantizers of the blocks before it where it is calibrated behind them; empty for
                full-precision inputs.
        """
        # What needs no calibration does not depend on it; its origin is the model alone.
        origin = self.origin if needs_calibration(quantizer) else self.origin.split("/")[0]
        parts: dict[str, Any] = {
            "origin": origin,
            "block": block,
            "quantizer": quantizer_identity(quantizer),
        }
        # Behind full-precision blocks the inputs are the same; a program that quantizes whole
        # models by itself never sees them.
        if (
            any(prefix)
            and needs_calibration(quantizer)
            and not getattr(quantizer, "whole_model", False)
        ):
            parts["behind"] = [quantizer_identity(q) if q is not None else None for q in prefix]
        return digest.of_value(parts)

    def has(self, block: int, quantizer: Quantizer) -> bool:
        """Whether there is an entry for full-precision inputs; its content is not looked at."""
        return self.store.has("bank", self.key(block, quantizer))

    def load(self, block: int, quantizer: Quantizer) -> BlockWeights | None:
        """The entry for full-precision inputs; None where it is absent or was damaged."""
        return self._load(self.key(block, quantizer))

    def load_behind(self, prefix: Prefix, quantizer: Quantizer) -> BlockWeights | None:
        """The entry of the block behind `prefix`; None where it is absent or was damaged."""
        return self._load(self.key(len(prefix), quantizer, prefix))

    def _load(self, key: str) -> BlockWeights | None:
        entry = self.store.load_tensors("bank", key)
        if entry is None:
            return None
        try:
            return from_tensors(*entry)
        except UnknownFormat:  # not damaged: the package that made it is not installed
            raise
        except (QuantizationError, KeyError, TypeError) as error:
            self.store.set_aside("bank", key, str(error))
            return None

    def save(self, block: int, quantizer: Quantizer, weights: BlockWeights) -> None:
        """Store the entry for full-precision inputs."""
        self._save(self.key(block, quantizer), block, quantizer, weights)

    def save_behind(self, prefix: Prefix, quantizer: Quantizer, weights: BlockWeights) -> None:
        """Store the entry of the block behind `prefix`."""
        self._save(self.key(len(prefix), quantizer, prefix), len(prefix), quantizer, weights)

    def _save(self, key: str, block: int, quantizer: Quantizer, weights: BlockWeights) -> None:
        tensors, meta = to_tensors(weights)
        meta |= {"block": block, "quantizer": quantizer_identity(quantizer)}
        self.store.save_tensors("bank", key, tensors, meta)


def to_tensors(weights: BlockWeights) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A block as tensors by name and the JSON values that go with them.

    `from_tensors` is the inverse.
    """
    tensors = {
        f"{name}.{part}": tensor
        for name, weight in weights.linears.items()
        for part, tensor in weight.tensors().items()
    }
    tensors |= {f"{CHANGED}.{name}": tensor for name, tensor in weights.changed.items()}
    linears = {
        name: {
            "format": weight.format,
            "header": weight.header(),
            "events": [[event.kind, event.detail] for event in weight.events],
        }
        for name, weight in weights.linears.items()
    }
    return tensors, {"linears": linears}


def from_tensors(tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> BlockWeights:
    """A block from what `to_tensors` made of it.

    Raises:
        UnknownFormat: No installed package knows the format of a weight.
        QuantizationError: A weight cannot be rebuilt from its parts.
        KeyError: `meta` and the tensors do not fit together; so does TypeError.
    """
    linears = {}
    for name, entry in meta["linears"].items():
        events = tuple(Event(*event) for event in entry["events"])
        linears[name] = rebuild_weight(
            entry["format"], entry["header"], _below(name, tensors), events
        )
    return BlockWeights(linears, _below(CHANGED, tensors))


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix` and a dot, without these."""
    return {
        key.removeprefix(f"{prefix}."): tensor
        for key, tensor in tensors.items()
        if key.startswith(f"{prefix}.")
    }
