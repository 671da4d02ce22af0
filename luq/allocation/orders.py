"""Scores and orders of the decoder blocks.

The higher the score of a block, the more bits it should have. An order begins with the lowest
score, whose block is the first to get the low-bit method.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

ORDERS: dict[str, str] = {
    "entropy": "ascending entropy of the block's outputs (LUQ)",
    "entropy_reverse": "descending entropy",
    "depth": "deepest block first",
    "first": "first block first",
    "random": "a random order for each order seed",
    "layer_error": "ascending relative output error of the block's linears under the low method",
    "influence": (
        "ascending block influence, 1 - cosine of what goes in and what comes out (ShortGPT)"
    ),
    "damage": (
        "ascending measured damage: loss on held-out calibration answers with only that block low"
    ),
}
MEASURED = ("entropy", "layer_error", "influence", "damage")
# Functions that measure something of every block, by name.
Measures = Mapping[str, Callable[[], Sequence[float]]]


def block_score(name: str, blocks: int, measured: Measures, *, seed: int = 0) -> list[float]:
    """Return a score for each of the blocks 0..blocks-1.

    Args:
        name: a name in ORDERS.
        blocks: number of blocks.
        measured: measurements by name; called only by the score that needs one.
        seed: of the order "random".

    Raises:
        ValueError: The name is unknown, or a measurement has another number of blocks.
    """
    if name not in ORDERS:
        raise ValueError(f"unknown order {name!r}; choose one of {', '.join(ORDERS)}")
    if name == "depth":
        return [float(blocks - 1 - i) for i in range(blocks)]
    if name == "first":
        return [float(i) for i in range(blocks)]
    if name == "random":
        order = list(range(blocks))
        random.Random(seed).shuffle(order)
        return [float(order.index(i)) for i in range(blocks)]
    sign, source = (-1, "entropy") if name == "entropy_reverse" else (1, name)
    values = measured[source]()
    if len(values) != blocks:
        raise ValueError(f"{len(values)} values of {source} for {blocks} blocks")
    return [sign * float(value) for value in values]


def block_order(name: str, blocks: int, measured: Measures, *, seed: int = 0) -> tuple[int, ...]:
    """Return the blocks by ascending score; ties go to the smaller index.

    Arguments as in `block_score`.
    """
    score = block_score(name, blocks, measured, seed=seed)
    return tuple(sorted(range(blocks), key=lambda i: (score[i], i)))


def coinciding(first: Sequence[int], second: Sequence[int]) -> list[int]:
    """Return every k, except 0 and all blocks, at which two orders choose the same set of blocks.

    At these k they give the same model.
    """
    return [k for k in range(1, len(first)) if set(first[:k]) == set(second[:k])]
