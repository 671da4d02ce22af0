"""From an order to a plan."""

from __future__ import annotations

from collections.abc import Sequence

from luq.types import Plan, Quantizer


def ranked_prefix(
    order: Sequence[int], k: int, low: Quantizer | None, high: Quantizer | None
) -> Plan:
    """The first k blocks of the order get `low`, all others `high` (LUQ, equation 7); None keeps a
    block in full precision.

    Raises ValueError for k outside 0..len(order).
    """
    if not 0 <= k <= len(order):
        raise ValueError(
            f"k is {k}, the model has {len(order)} decoder blocks: choose 0 to {len(order)}"
        )
    chosen = set(order[:k])
    methods = {
        name: method for name, method in (("low", low), ("high", high)) if method is not None
    }
    names = ("low" if "low" in methods else "none", "high" if "high" in methods else "none")
    return Plan(
        tuple(names[0] if block in chosen else names[1] for block in range(len(order))), methods
    )
