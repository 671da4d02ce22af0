"""Vision features of pictures: computed once, used by every variant of a model.

No variant changes the vision tower or the projector.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from harness.store import digest
from harness.store.store import Store

MEMORY_LIMIT = 2 * 2**30  # bytes


@dataclass(frozen=True)
class PictureFeatures:
    """What the vision tower and the projector make of one picture.

    Attributes:
        values: (tokens, hidden), in the model's dtype.
        grid: (1, 3) int64, its grid of patches as (frames, rows, columns), for models that take
            pictures of any size; else None.
    """

    values: Tensor
    grid: Tensor | None = None


class VisionCache:
    """Features by picture: in memory up to a limit, then in the store up to another.

    Features that fit in neither are computed again whenever they are needed.

    Args:
        memory_limit: Bytes on the device of the model.

    Attributes:
        memory: Features by digest of the picture.
        memory_bytes: Size of the features in memory.
        disk_bytes: Size of the features that this object added to the store.
    """

    def __init__(self, memory_limit: int = MEMORY_LIMIT) -> None:
        self.memory: dict[str, PictureFeatures] = {}
        self.memory_bytes = self.disk_bytes = 0
        self._memory_limit, self._disk_limit = memory_limit, 0
        self._store: Store | None = None
        self._origin = ""

    def attach(self, store: Store, origin: str, disk_limit: int) -> None:
        """Use a store for features that do not fit in memory.

        Args:
            store: Where to.
            origin: Digest of the model that computes them, with its dtype.
            disk_limit: Bytes in the store.
        """
        self._store, self._origin, self._disk_limit = store, origin, disk_limit

    def add(self, picture: str, features: PictureFeatures) -> None:
        """Cache the features of a picture if they fit.

        Args:
            picture: Its digest.
            features: On the device of the model.

        Raises:
            StoreError: The store cannot be written to.
        """
        size = features.values.nbytes
        if self.memory_bytes + size <= self._memory_limit:
            self.memory[picture] = features
            self.memory_bytes += size
        elif self._store is not None and self.disk_bytes + size <= self._disk_limit:
            tensors = {"values": features.values.cpu()}
            if features.grid is not None:
                tensors["grid"] = features.grid.cpu()
            self._store.save_tensors("features", self._key(picture), tensors, {})
            self.disk_bytes += size

    def has(self, picture: str) -> bool:
        """Whether the features of a picture are cached; those in the store may still be damaged."""
        if picture in self.memory:
            return True
        return self._store is not None and self._store.has("features", self._key(picture))

    def load(self, picture: str, device: torch.device) -> PictureFeatures | None:
        """The features of a picture on a device; None where they are not cached or are damaged."""
        if picture in self.memory or self._store is None:
            return self.memory.get(picture)
        entry = self._store.load_tensors("features", self._key(picture))
        if entry is None:
            return None
        tensors = {name: tensor.to(device) for name, tensor in entry[0].items()}
        return PictureFeatures(tensors["values"], tensors.get("grid"))

    def _key(self, picture: str) -> str:
        return digest.of_value([self._origin, picture])
