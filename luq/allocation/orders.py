"""Orders of the decoder blocks: the first of an order is the first to be quantized low."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

ORDERS: dict[str, str] = {
    "entropy": "ascending entropy of the block's outputs (LUQ)",
    "entropy_reverse": "descending entropy",
    "depth": "deepest block first",
    "first": "first block first",
    "random": "a random order for each order seed",
}


def block_order(name: str, blocks: int, *, entropy: Callable[[], Sequence[float]], seed: int = 0) -> tuple[int, ...]:
    """The blocks 0..blocks-1 in the named order; ties go to the smaller index. entropy: asked only by the orders that need it."""
    if name not in ORDERS:
        raise ValueError(f"unknown order {name!r}; choose one of {', '.join(ORDERS)}")
    if name in ("entropy", "entropy_reverse"):
        sign = 1 if name == "entropy" else -1
        values = entropy()
        if len(values) != blocks:
            raise ValueError(f"{len(values)} entropies for {blocks} blocks")
        return tuple(sorted(range(blocks), key=lambda i: (sign * values[i], i)))
    if name == "depth":
        return tuple(reversed(range(blocks)))
    order = list(range(blocks))
    if name == "random":
        random.Random(seed).shuffle(order)
    return tuple(order)
