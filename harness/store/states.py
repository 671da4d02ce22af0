"""Residual streams of a calibration pass as store entries: a pass that was killed resumes there."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from harness.store import digest
from harness.store.store import Store


class StoredStates:
    """Residual streams between two blocks; a later position replaces an earlier one.

    Args:
        store: Where they are stored.
        origin: Digest `MODEL/CALIBRATION` of the pass.
        blocks: How many decoder blocks the model has.
    """

    def __init__(self, store: Store, origin: str, blocks: int):
        self.store, self.origin, self.blocks = store, origin, blocks

    def load(self, at_most: int) -> tuple[int, list[Tensor]] | None:
        """The stored position closest to a block and not behind its input.

        Args:
            at_most: Number of the block.

        Returns:
            Number of the block whose input the states are, and the states, one (1, tokens, hidden)
            a sequence; None where there are none.
        """
        for index in range(at_most, 0, -1):
            entry = self.store.load_tensors("states", self._key(index))
            if entry is not None:
                tensors, _ = entry
                return index, [tensors[str(i)] for i in range(len(tensors))]
        return None

    def save(self, index: int, states: Sequence[Tensor]) -> None:
        """Store the inputs of block `index`, one tensor a sequence, in place of all others."""
        if not self.store.has("states", self._key(index)):
            self.store.save_tensors(
                "states",
                self._key(index),
                {str(i): state.cpu() for i, state in enumerate(states)},
                {},
            )
        self.discard(but=index)

    def discard(self, but: int | None = None) -> None:
        """Remove the states of every position, or of all others than `but`."""
        for index in range(1, self.blocks + 1):
            if index != but and self.store.has("states", self._key(index)):
                self.store.discard("states", self._key(index))

    def _key(self, index: int) -> str:
        return digest.of_value([self.origin, index])
