"""NaN and infinity in a model's computation: noticed at its logits, and traced to a block."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from transformers import LogitsProcessor

from harness.models.load import LoadedModel
from luq.types import QuantizationError


class NonFiniteLogits(QuantizationError):
    """The model computed NaN or infinity."""


class RequireFinite(LogitsProcessor):
    """Stops generation at logits that are not finite.

    Raises:
        NonFiniteLogits: At the first of them.
    """

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """The scores, (batch, vocabulary), as they are."""
        if not bool(torch.isfinite(scores).all()):
            raise NonFiniteLogits("the model's logits hold NaN or infinite values")
        return scores


@torch.inference_mode()
def locate_non_finite(loaded: LoadedModel, inputs: Mapping[str, Any]) -> str:
    """In words, the first decoder block whose output is not finite.

    Args:
        loaded: The model.
        inputs: Arguments of its forward pass.
    """
    blocks: list[int] = []

    def watch(index: int) -> Callable[..., None]:
        def hook(_module: Any, _args: Any, output: Any) -> None:
            state = output[0] if isinstance(output, tuple) else output
            if not bool(torch.isfinite(state).all()):
                blocks.append(index)

        return hook

    handles = [block.register_forward_hook(watch(i)) for i, block in enumerate(loaded.blocks)]
    try:
        loaded.model(**inputs, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    if blocks:
        return f"block {blocks[0]} gives NaN or infinite activations"
    return "NaN or infinite logits behind the last block"
