"""Residual streams between two blocks of a calibration pass, on disk: what a killed pass goes on
from.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from harness.store import digest
from harness.store.store import Store

KIND = "states"


class StoredStates:
    """Of one model and one calibration (`origin`).

    Those in front of one block replace those before.
    """

    def __init__(self, store: Store, origin: str, blocks: int):
        self.store, self.origin, self.blocks = store, origin, blocks

    def load(self, at_most: int) -> tuple[int, list[Tensor]] | None:
        for index in range(at_most, 0, -1):
            found = self.store.load_tensors(KIND, self._key(index))
            if found is not None:
                return index, [found[0][str(i)] for i in range(len(found[0]))]
        return None

    def save(self, index: int, states: Sequence[Tensor]) -> None:
        if not self.store.has(KIND, self._key(index)):
            self.store.save_tensors(
                KIND, self._key(index), {str(i): state.cpu() for i, state in enumerate(states)}, {}
            )
        self.discard(but=index)

    def discard(self, but: int | None = None) -> None:
        for index in range(1, self.blocks + 1):
            if index != but and self.store.has(KIND, self._key(index)):
                self.store.discard(KIND, self._key(index))

    def _key(self, index: int) -> str:
        return digest.of_value([self.origin, index])
