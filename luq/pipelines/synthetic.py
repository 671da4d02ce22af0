"""Synthetic layers with correlated inputs, to judge a method without a model."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from luq.decoder.blocks import BlockInput, needs_inputs
from luq.decoder.families import Family, ScaleGroup
from luq.types import LayerStats, QuantizedWeight, Quantizer

LAYERS = 3  # synthetic layers in `layer_errors`


class ContractViolation(Exception):
    """A quantizer does not do what every quantizer must do."""


def require(condition: bool, message: str) -> None:
    """Raise ContractViolation with this message unless the condition holds."""
    if not condition:
        raise ContractViolation(message)


def synthetic_layer(
    out: int = 64, inner: int = 256, *, seed: int = 0, tokens: int = 2048, dead: int = 0
) -> tuple[Tensor, Tensor]:
    """Return a random weight and correlated inputs whose spectrum falls as in real activations.

    Args:
        out: rows of the weight.
        inner: columns of the weight.
        seed: of weight and inputs.
        tokens: number of inputs.
        dead: number of input columns that are zero.

    Returns:
        The weight (out, inner) and the inputs (tokens, inner), float32.
    """
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(out, inner, generator=generator) * 0.02
    basis, _ = torch.linalg.qr(torch.randn(inner, inner, generator=generator))
    scale = torch.arange(1, inner + 1, dtype=torch.float32) ** -0.5
    inputs = torch.randn(tokens, inner, generator=generator) * scale @ basis.T
    if dead:
        inputs[:, torch.randperm(inner, generator=generator)[:dead]] = 0
    return weight, inputs


def stats_of(inputs: Tensor) -> LayerStats:
    """Return the statistics of a layer with these inputs (tokens, in)."""
    return LayerStats(inputs.T @ inputs / len(inputs), len(inputs))


def output_error(value: Tensor, weight: Tensor, inputs: Tensor) -> float:
    """Return the relative squared error ‖(V - W) Xᵀ‖² / ‖W Xᵀ‖² of the layer's output.

    Args:
        value: V, (out, in), what the layer computes with.
        weight: W, (out, in).
        inputs: X, (tokens, in).
    """
    return float(((value - weight) @ inputs.T).square().sum() / (weight @ inputs.T).square().sum())


class _Scale(nn.Module):
    """A norm reduced to its weight."""

    def __init__(self, size: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size), requires_grad=False)

    def forward(self, state: Tensor) -> Tensor:
        return state * self.weight


class _OneLinear(nn.Module):
    """The smallest block: a norm and a linear."""

    def __init__(self, weight: Tensor):
        super().__init__()
        self.norm = _Scale(weight.shape[1])
        self.linear = nn.Linear(weight.shape[1], len(weight), bias=False).requires_grad_(False)
        self.linear.weight.data = weight.clone()

    def forward(self, state: Tensor) -> Tensor:
        output: Tensor = self.linear(self.norm(state))
        return output


_FAMILY = Family("one", "", "", (("linear",),), (ScaleGroup("norm", ("linear",), "linear"),), ())


def quantized(method: Quantizer, weight: Tensor, inputs: Tensor) -> tuple[QuantizedWeight, Tensor]:
    """Quantize a layer by any method, whether it needs statistics or a whole block.

    Args:
        method: the quantizer.
        weight: (out, in).
        inputs: (tokens, in).

    Returns:
        The packed weight, and the weight (out, in) with which the layer computes.

    Raises:
        ContractViolation: The method changed the block.
    """
    if not needs_inputs(method):
        packed = method(weight, stats_of(inputs))
        return packed, packed.dequantize()
    block = _OneLinear(weight).to(weight.device)
    result = method.quantize_block(block, _FAMILY, [BlockInput(x[None]) for x in inputs.chunk(4)])
    require(torch.equal(block.linear.weight, weight), "the block's weight was changed")
    require(
        torch.equal(block.norm.weight, torch.ones_like(block.norm.weight)),
        "the block's norm was changed",
    )
    packed = result.linears["linear"]
    norm = result.changed.get("norm.weight", torch.ones(weight.shape[1]))
    return packed, packed.dequantize() * norm


def layer_errors(method: Quantizer, seed: int = 0) -> list[float]:
    """Return the relative squared output error of a method on LAYERS synthetic layers."""
    errors = []
    for layer in range(LAYERS):
        weight, inputs = synthetic_layer(seed=LAYERS * seed + layer)
        errors.append(output_error(quantized(method, weight, inputs)[1], weight, inputs))
    return errors
