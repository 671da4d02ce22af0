"""Layerwise ultra-low-bit quantization of a model in memory (LUQ, arXiv 2509.23729)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from luq.allocation.orders import MEASURED, ORDERS, block_order
from luq.allocation.plan import Plan, ranked_prefix
from luq.allocation.scores import block_influence, layer_error
from luq.calibration.capture import BlockCapture, capture_blocks
from luq.calibration.entropy import cluster_entropy
from luq.decoder.blocks import needs_calibration
from luq.decoder.families import Family, decoder_blocks
from luq.options import Positive, checked_options, require_quantizer
from luq.pipelines.bank import quantize_block
from luq.quantizers.billm import BiLLM
from luq.quantizers.gptq import GPTQ
from luq.types import OptionError, Quantizer

# Damage is measured on answers to questions, which calibration data does not have.
AVAILABLE_ORDERS = tuple(name for name in ORDERS if name != "damage")


@checked_options
@dataclass(frozen=True)
class LUQ:
    """Give the k blocks that come first in an order a low-bit method, and all others a second one.

    Attributes:
        k: number of blocks that get `low`, from 0 to all.
        low: the low-bit method.
        high: the method of all other blocks.
        order: how blocks are ordered. `entropy` (ascending entropy of their outputs, as in the
            paper), `entropy_reverse`, `depth` (deepest first), `first`, `random`, `influence`
            (ascending block influence of ShortGPT), or `layer_error` (ascending relative output
            error of the linears under `low`).
        clusters: K of the K-means clustering whose entropy is measured.
        seeds: number of K-means runs that are averaged.
        order_seed: of the order `random`.

    Raises:
        OptionError: The order is not available, or a number is out of range.
    """

    k: int
    low: Quantizer = field(default_factory=BiLLM)
    high: Quantizer = field(default_factory=lambda: GPTQ(bits=4))
    order: str = "entropy"
    clusters: Positive = 100
    seeds: Positive = 5
    order_seed: int = 0

    def __post_init__(self) -> None:
        if self.order not in AVAILABLE_ORDERS:
            raise OptionError(
                f"LUQ: order is {self.order!r}; choose one of {', '.join(AVAILABLE_ORDERS)}"
            )
        require_quantizer(self.low, "LUQ: low")
        require_quantizer(self.high, "LUQ: high")

    def needs_calibration(self, blocks: int) -> bool:
        """Return whether a model with this number of blocks needs calibration data."""
        used = [*([self.low] if self.k > 0 else []), *([self.high] if self.k < blocks else [])]
        return self._needs_order(blocks) or any(map(needs_calibration, used))

    def plan(
        self, model: nn.Module, family: Family, sequences: Sequence[Mapping[str, Any]]
    ) -> Plan:
        """Order the blocks of a model, and plan their quantizers.

        Args:
            model: not changed.
            family: its family.
            sequences: calibration data, used by orders that measure something.

        Raises:
            OptionError: k is out of range, or there are fewer tokens than clusters.
            QuantizationError: The calibration data gives NaN or infinite activations.
        """
        blocks = decoder_blocks(model, family)
        order: Sequence[int] = range(len(blocks))
        if 0 < self.k < len(blocks):

            def measure(score: Callable[[BlockCapture], float], *, hessians: bool) -> list[float]:
                captures = capture_blocks(model, family, [sequences], hessians=hessians)
                return [score(capture) for capture in captures]

            def error(capture: BlockCapture) -> float:
                block, stats = blocks[capture.index], capture.stats[0]
                label = f"block {capture.index}"
                low = quantize_block(block, family, self.low, stats, label, capture.inputs)
                return layer_error(block, family, low, stats)

            measured = {
                "entropy": lambda: measure(self._entropy, hessians=False),
                "influence": lambda: measure(block_influence, hessians=False),
                "layer_error": lambda: measure(error, hessians=True),
            }
            order = block_order(self.order, len(blocks), measured, seed=self.order_seed)
        return ranked_prefix(order, self.k, self.low, self.high)

    def _needs_order(self, blocks: int) -> bool:
        return 0 < self.k < blocks and self.order.removesuffix("_reverse") in MEASURED

    def _entropy(self, capture: BlockCapture) -> float:
        """Return the entropy of a block's outputs in bits, averaged over seeds."""
        entropies = cluster_entropy(capture.outputs, self.clusters, range(self.seeds))
        return sum(entropies) / len(entropies)
