"""The largest k that still holds: by bisection, which trusts that scores fall with k, and by
looking at every k, which does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence


def bisect_k(blocks: int, holds: Callable[[int], bool]) -> int | None:
    """The paper's binary search over 0..blocks; None where not even k=0 holds.

    It is right only if no k holds behind one that does not.
    """
    if not holds(0):
        return None
    low, high = 0, blocks
    while low < high:
        middle = (low + high + 1) // 2
        if holds(middle):
            low = middle
        else:
            high = middle - 1
    return low


def scan_k(blocks: int, holds: Callable[[int], bool]) -> int | None:
    """The largest k of 0..blocks that holds, whatever lies before it; every k is asked."""
    found = [k for k in range(blocks + 1) if holds(k)]
    return max(found, default=None)


def smallest_within(sizes: Sequence[int], budget: int) -> int:
    """The smallest k whose size is within the budget; sizes[k] in bytes.

    Raises ValueError for a budget that none is within.
    """
    fitting = [k for k, size in enumerate(sizes) if size <= budget]
    if not fitting:
        raise ValueError(
            f"a budget of {budget} bytes is below the smallest model, which has {min(sizes)}"
        )
    return fitting[0]
