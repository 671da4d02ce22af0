"""Search for k, the number of blocks that get the low-bit method.

Bisection assumes that scores fall with k; a scan does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from luq.types import OptionError


def bisect_k(blocks: int, acceptable: Callable[[int], bool]) -> int | None:
    """Return the largest acceptable k in 0..blocks by bisection; None if 0 is not acceptable.

    Source: the binary search of LUQ (arXiv 2509.23729). It is correct only if no k is acceptable
    above one that is not.
    """
    if not acceptable(0):
        return None
    low, high = 0, blocks
    while low < high:
        middle = (low + high + 1) // 2
        if acceptable(middle):
            low = middle
        else:
            high = middle - 1
    return low


def scan_k(blocks: int, acceptable: Callable[[int], bool]) -> int | None:
    """Return the largest acceptable k in 0..blocks, or None; every k is evaluated."""
    return max((k for k in range(blocks + 1) if acceptable(k)), default=None)


def smallest_within(sizes: Sequence[int], budget: int) -> int:
    """Return the smallest k whose size is within the budget.

    Args:
        sizes: sizes[k] in bytes.
        budget: in bytes.

    Raises:
        OptionError: The budget is below every size.
    """
    fitting = [k for k, size in enumerate(sizes) if size <= budget]
    if not fitting:
        raise OptionError(
            f"a budget of {budget} bytes is below the smallest model, which has {min(sizes)}"
        )
    return fitting[0]
