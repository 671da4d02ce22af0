"""Plans: which quantizer each decoder block gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from luq.types import OptionError, Quantizer


@dataclass(frozen=True)
class Plan:
    """Which quantizer each decoder block gets.

    Attributes:
        blocks: for each block a name in `methods`, or "none" for full precision.
        methods: quantizers by name.

    Raises:
        OptionError: A block has a name that `methods` does not define.
    """

    blocks: tuple[str, ...]
    methods: Mapping[str, Quantizer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        missing = {name for name in self.blocks if name != "none"} - set(self.methods)
        if missing:
            raise OptionError(
                f"the plan names {sorted(missing)}, which it does not define; it defines"
                f" {sorted(self.methods)}"
            )


def ranked_prefix(
    order: Sequence[int], k: int, low: Quantizer | None, high: Quantizer | None
) -> Plan:
    """Give the first k blocks of an order the low-bit method and all others the high-bit one.

    Source: LUQ (arXiv 2509.23729), equation 7.

    Args:
        order: every block once, the first one to be quantized low first.
        k: number of blocks that get `low`.
        low: None leaves these blocks in full precision.
        high: None leaves these blocks in full precision.

    Raises:
        OptionError: k is outside 0..len(order).
    """
    if not 0 <= k <= len(order):
        raise OptionError(
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
