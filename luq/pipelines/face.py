"""Quantize a model in memory: `luq.quantize`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self

import torch
from torch import nn

from luq.allocation.plan import Plan
from luq.calibration.capture import capture_blocks
from luq.decoder.apply import apply_weights
from luq.decoder.blocks import BlockWeights, needs_calibration
from luq.decoder.families import Family, block_linears, decoder_blocks, find_family
from luq.options import require_quantizer
from luq.pipelines.bank import quantize_block
from luq.pipelines.layerwise import LUQ
from luq.pipelines.sequences import CalibrationSequence, checked_sequences
from luq.pipelines.sequential import Prefix, sequential_weights
from luq.quantizers.registry import quantizer_label
from luq.types import (
    OptionError,
    QuantizationError,
    QuantizedWeight,
    Quantizer,
    stored_bytes,
)

# Attribute of a quantized model with the label of its quantizer.
MARK = "_luq_quantizer"
FLOATS = (torch.bfloat16, torch.float16, torch.float32, torch.float64)


class Quantized:
    """A model in memory whose decoder blocks hold quantized weights.

    As a context manager it restores the model at the end.

    Attributes:
        model: the model that was passed to `luq.quantize`.
        plan: the quantizer of each decoder block.
        weights: the packed weights by block.
    """

    def __init__(
        self,
        model: nn.Module,
        family: Family,
        plan: Plan,
        weights: Mapping[int, BlockWeights],
        *,
        packed: bool,
    ):
        self.model, self.plan, self.weights = model, plan, weights
        self._undo = apply_weights(model, family, weights, packed=packed)
        label = ", ".join(quantizer_label(method) for method in plan.methods.values())
        setattr(model, MARK, label)
        self._undo.callback(delattr, model, MARK)

    @property
    def stored_bytes(self) -> int:
        """Bytes of all packed weights."""
        return sum(map(stored_bytes, self._packed()))

    @property
    def stored_bits(self) -> float:
        """Stored bits per quantized weight: 8 * bytes / weights."""
        return 8 * self.stored_bytes / self._numel()

    @property
    def paper_bits(self) -> float:
        """Bits per quantized weight as the papers of the methods count them."""
        return sum(w.paper_bits * w.shape[0] * w.shape[1] for w in self._packed()) / self._numel()

    @property
    def events(self) -> tuple[str, ...]:
        """What the user should know, such as an increased damping, with block and linear."""
        return tuple(
            f"block {index} {name}: {event.kind} {event.detail}"
            for index, entry in self.weights.items()
            for name, weight in entry.linears.items()
            for event in weight.events
        )

    def restore(self) -> None:
        """Put the original weights back: the model is bit for bit what it was.

        A second call does nothing, nor does a call after `release`.
        """
        self._undo.close()

    def release(self) -> None:
        """Free the memory of the original weights; the model stays quantized for good."""
        self._undo.pop_all()

    def _packed(self) -> list[QuantizedWeight]:
        return [weight for entry in self.weights.values() for weight in entry.linears.values()]

    def _numel(self) -> int:
        return sum(weight.shape[0] * weight.shape[1] for weight in self._packed())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.restore()

    def __repr__(self) -> str:
        return (
            f"<Quantized {type(self.model).__name__}: {getattr(self.model, MARK, 'restored')},"
            f" {self.stored_bits:.3f} stored bits per weight>"
        )


def quantize(
    model: nn.Module,
    quantizer: Quantizer | LUQ,
    calibration: Iterable[CalibrationSequence] | None = None,
    *,
    inputs: Literal["fp", "sequential"] = "fp",
    packed: bool = False,
) -> Quantized:
    """Quantize the linears of a model's decoder blocks in place.

    If this raises, the model is what it was. The original weights stay in memory until
    `Quantized.restore` or `Quantized.release` is called.

    Args:
        model: a transformers model of a supported family: LLaVA, Qwen2.5-VL, Llama or Qwen2, with
            floating-point weights and in evaluation mode.
        quantizer: one method for all blocks, such as `luq.GPTQ(bits=3)`, or `luq.LUQ(k=...)`.
        calibration: sequences, each as the keyword arguments of the model's forward pass (what its
            processor or tokenizer returns, batch of 1, no padding) or as a tensor of token ids.
            Not used by methods without calibration.
        inputs: "fp" calibrates each block on its inputs in the full-precision model, "sequential"
            on its inputs after all earlier blocks are quantized.
        packed: replace linears by modules that compute from their packed weight, in less memory and
            more time, instead of dequantized weights.

    Returns:
        The quantized model with its sizes; also a context manager that restores the model.

    Raises:
        QuantizationError: The model's family is unknown, the model is quantized already, or
            calibration data is missing, empty, padded or batched; or a linear cannot be quantized.
        OptionError: The quantizer is none, or an option is out of range, such as k.
    """
    if inputs not in ("fp", "sequential"):
        raise OptionError(f"inputs is {inputs!r}; choose fp or sequential")
    if not isinstance(quantizer, LUQ):
        require_quantizer(quantizer, "quantizer")
    family = find_family(model)
    _check_model(model, family)
    blocks = len(decoder_blocks(model, family))
    calibrated = (
        quantizer.needs_calibration(blocks)
        if isinstance(quantizer, LUQ)
        else needs_calibration(quantizer)
    )
    sequences: list[dict[str, Any]] = []
    if calibrated:
        if calibration is None:
            raise QuantizationError(
                "this method needs calibration data: pass sequences, for instance"
                " [processor(text=..., images=..., return_tensors='pt'), ...]"
            )
        sequences = checked_sequences(calibration, next(model.parameters()).device)
    plan = (
        quantizer.plan(model, family, sequences)
        if isinstance(quantizer, LUQ)
        else Plan(("all",) * blocks, {"all": quantizer})
    )
    if inputs == "sequential" and calibrated:
        weights = sequential_weights(model, family, plan, lambda: sequences, _NoStorage())
    else:
        weights = _weights(model, family, plan, sequences)
    return Quantized(model, family, plan, weights, packed=packed)


def _check_model(model: nn.Module, family: Family) -> None:
    """Raise QuantizationError unless the model can be quantized."""
    if hasattr(model, MARK):
        raise QuantizationError(
            f"the model is quantized already, by {getattr(model, MARK)}; call restore() on what"
            " luq.quantize returned"
        )
    if model.training:
        raise QuantizationError("the model is in training mode; call model.eval() first")
    for index, block in enumerate(decoder_blocks(model, family)):
        for name, linear in block_linears(block, family).items():
            if linear.weight.is_meta or linear.weight.dtype not in FLOATS:
                raise QuantizationError(
                    f"block {index} {name} holds {linear.weight.dtype} weights on"
                    f" {linear.weight.device}: start from a loaded full-precision model"
                )


def _weights(
    model: nn.Module, family: Family, plan: Plan, sequences: Sequence[Mapping[str, Any]]
) -> dict[int, BlockWeights]:
    """Quantize all blocks from full-precision inputs, in one pass."""
    blocks = decoder_blocks(model, family)
    quantizers = {i: plan.methods[name] for i, name in enumerate(plan.blocks)}
    weights = {
        i: quantize_block(blocks[i], family, quantizer, {}, f"block {i}")
        for i, quantizer in quantizers.items()
        if not needs_calibration(quantizer)
    }
    if len(weights) < len(quantizers):
        hessians = any(quantizer.needs_stats for quantizer in quantizers.values())
        for capture in capture_blocks(model, family, [sequences], hessians=hessians):
            i = capture.index
            if i not in weights:
                weights[i] = quantize_block(
                    blocks[i], family, quantizers[i], capture.stats[0], f"block {i}", capture.inputs
                )
            del capture  # frees its Hessians before the next block
    return dict(sorted(weights.items()))


class _NoStorage:
    """A storage that stores nothing: every block is quantized once."""

    def load_behind(self, prefix: Prefix, quantizer: Quantizer) -> BlockWeights | None:
        return None

    def save_behind(self, prefix: Prefix, quantizer: Quantizer, weights: BlockWeights) -> None:
        return None
