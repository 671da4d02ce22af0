"""The contract of a quantizer: what every backend must keep, whichever it is, checked on small
planted layers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from luq.decoder.blocks import BlockInput, needs_calibration, needs_inputs
from luq.decoder.families import Family, ScaleGroup
from luq.quantizers.registry import rebuild_weight
from luq.types import (
    LayerStats,
    QuantizationError,
    QuantizedWeight,
    Quantizer,
    stored_bits,
    stored_bytes,
)

SEVERAL_SEEDS = 3  # planted layers behind `layer_errors`, for each seed


class ContractBreach(Exception):
    """A backend does not keep what every backend must."""


Check = Callable[[Quantizer, int], None]


def contract_checks(method: Quantizer) -> dict[str, Check]:
    """The checks that apply to a method, by what they claim.

    Each takes the method and a seed of its planted layers, and raises ContractBreach; a check of a
    method that raises anything else has failed, too.
    """
    checks: dict[str, Check] = {
        "equal arguments give equal bits": _deterministic,
        "stored tensors alone rebuild the evaluated weight": _rebuilds,
        "stored bits are those of the stored tensors, and no fewer than claimed": _counts,
        "zero columns, zero rows and constant weights stay finite": _finite,
        "rows that are no multiple of a group work": _ragged,
        "a weight that is not finite is refused": _refuses_nan,
        "what is no matrix is refused": _refuses_no_matrix,
    }
    if needs_calibration(method):
        checks["permuted rows give permuted results"] = _permutes
        checks["a rank-one calibration gives finite weights"] = _rank_one
        checks["calibration lowers the output error"] = _uses_calibration
    if needs_calibration(method) and not needs_inputs(method):
        checks["the scale of the Hessian does not matter"] = _scale_free
        checks["missing or foreign statistics are refused"] = _refuses_statistics
    return checks


def layer_errors(method: Quantizer, seed: int = 0) -> list[float]:
    """Relative squared output error on planted layers with correlated inputs: a method's figure of
    merit without a model.
    """
    errors = []
    for one in range(SEVERAL_SEEDS):
        weight, inputs = planted_layer(seed=SEVERAL_SEEDS * seed + one)
        errors.append(output_error(quantized(method, weight, inputs)[1], weight, inputs))
    return errors


# ---------------------------------------------------------------------- planted layers
def planted_layer(
    out: int = 64, inner: int = 256, *, seed: int = 0, tokens: int = 2048, dead: int = 0
) -> tuple[Tensor, Tensor]:
    """(weight (out, inner), correlated inputs (tokens, inner)); the spectrum falls as in real
    activations, `dead` columns are zero.
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
    """inputs: (tokens, in)."""
    return LayerStats(inputs.T @ inputs / len(inputs), len(inputs))


class _Scaled(nn.Module):
    """A norm reduced to its weight."""

    def __init__(self, size: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size), requires_grad=False)

    def forward(self, state: Tensor) -> Tensor:
        return state * self.weight


class _OneLinear(nn.Module):
    """The smallest block: what comes before, and a linear."""

    def __init__(self, weight: Tensor):
        super().__init__()
        self.norm = _Scaled(weight.shape[1])
        self.linear = nn.Linear(weight.shape[1], len(weight), bias=False).requires_grad_(False)
        self.linear.weight.data = weight.clone()

    def forward(self, state: Tensor) -> Tensor:
        found: Tensor = self.linear(self.norm(state))
        return found


_FAMILY = Family("one", "", "", (("linear",),), (ScaleGroup("norm", ("linear",), "linear"),), ())


def quantized(method: Quantizer, weight: Tensor, inputs: Tensor) -> tuple[QuantizedWeight, Tensor]:
    """(packed weight, what the layer computes with) of any method, whether it sees statistics or a
    whole block.
    """
    if not needs_inputs(method):
        packed = method(weight, stats_of(inputs))
        return packed, packed.dequantize()
    block: Any = _OneLinear(weight).to(weight.device)
    found = method.quantize_block(
        block, _FAMILY, [BlockInput(part[None]) for part in inputs.chunk(4)]
    )  # type: ignore[attr-defined]
    _require(torch.equal(block.linear.weight, weight), "the block's weight was changed")
    _require(
        torch.equal(block.norm.weight, torch.ones_like(block.norm.weight)),
        "the block's norm was changed",
    )
    packed = found.linears["linear"]
    return packed, packed.dequantize() * found.changed.get(
        "norm.weight", torch.ones(weight.shape[1])
    )


def output_error(value: Tensor, weight: Tensor, inputs: Tensor) -> float:
    """Relative squared error of the layer's output."""
    return float(((value - weight) @ inputs.T).square().sum() / (weight @ inputs.T).square().sum())


# ---------------------------------------------------------------------- checks
def _deterministic(method: Quantizer, seed: int) -> None:
    weight, inputs = planted_layer(seed=seed)
    before = weight.clone(), inputs.clone()
    (first, one), (second, other) = (
        quantized(method, weight, inputs),
        quantized(method, weight, inputs),
    )
    pairs = zip(first.tensors().values(), second.tensors().values(), strict=True)
    _require(
        all(torch.equal(a, b) for a, b in pairs) and torch.equal(one, other),
        "the same weight gave other bits the second time",
    )
    _require(
        torch.equal(weight, before[0]) and torch.equal(inputs, before[1]),
        "an argument was written into",
    )


def _rebuilds(method: Quantizer, seed: int) -> None:
    weight, inputs = planted_layer(seed=seed, dead=3)
    packed, _ = quantized(method, weight, inputs)
    copies = {name: tensor.clone() for name, tensor in packed.tensors().items()}
    again = rebuild_weight(packed.format, packed.header(), copies)
    _require(
        torch.equal(again.dequantize(), packed.dequantize()),
        "rebuilt from its stored tensors, the weight is another",
    )
    _require(
        tuple(packed.dequantize().shape) == tuple(packed.shape) == tuple(weight.shape),
        "the rebuilt weight has another shape",
    )


def _counts(method: Quantizer, seed: int) -> None:
    weight, inputs = planted_layer(seed=seed)
    packed, _ = quantized(method, weight, inputs)
    kept = sum(tensor.numel() * tensor.element_size() for tensor in packed.tensors().values())
    _require(
        stored_bytes(packed) == kept, f"it declares {stored_bytes(packed)} bytes and keeps {kept}"
    )
    _require(
        stored_bits(packed) >= packed.paper_bits - 0.01,
        f"it keeps {stored_bits(packed):.3f} bits and claims {packed.paper_bits:.3f}",
    )


def _finite(method: Quantizer, seed: int) -> None:
    weight, inputs = planted_layer(seed=seed, dead=5)
    weight[3], weight[:, 7], weight[5] = 0.0, 0.0, 0.25
    _require(
        bool(torch.isfinite(quantized(method, weight, inputs)[1]).all()), "NaN or infinite weights"
    )


def _ragged(method: Quantizer, seed: int) -> None:
    for inner in (320, 576, 130):
        weight, inputs = planted_layer(out=16, inner=inner, tokens=1024, seed=seed)
        packed, value = quantized(method, weight, inputs)
        _require(
            tuple(packed.shape) == (16, inner), f"{inner} columns became {tuple(packed.shape)}"
        )
        error = output_error(value, weight, inputs)
        _require(error < 0.6, f"with {inner} columns the output error is {error:.2f}")


def _refuses_nan(method: Quantizer, seed: int) -> None:
    for bad in (float("nan"), float("inf")):
        weight, inputs = planted_layer(seed=seed)
        weight[2, 3] = bad
        _refused(
            lambda weight=weight, inputs=inputs: quantized(method, weight, inputs),
            f"a weight with {bad}",
        )  # type: ignore[misc]


def _refuses_no_matrix(method: Quantizer, seed: int) -> None:
    _, inputs = planted_layer(seed=seed)
    for weight in (torch.ones(4, 4, 256), torch.ones(256), torch.ones(0, 256)):
        _refused(
            lambda weight=weight: method(weight, stats_of(inputs)),
            f"a tensor of shape {tuple(weight.shape)}",
        )  # type: ignore[misc]


def _permutes(method: Quantizer, seed: int) -> None:
    """Searches that sum over rows may break a tie otherwise."""
    weight, inputs = planted_layer(out=32, seed=seed)
    order = torch.randperm(32, generator=torch.Generator().manual_seed(seed + 1))
    straight, permuted = (
        quantized(method, weight, inputs)[1][order],
        quantized(method, weight[order], inputs)[1],
    )
    same = float(torch.isclose(straight, permuted, rtol=1e-5, atol=1e-7).float().mean())
    _require(same > 0.99, f"only {same:.1%} of the weights follow a permutation of the rows")


def _rank_one(method: Quantizer, seed: int) -> None:
    weight, inputs = planted_layer(tokens=4, seed=seed)
    inputs[1:] = inputs[0]
    _require(
        bool(torch.isfinite(quantized(method, weight, inputs)[1]).all()), "NaN or infinite weights"
    )


def _uses_calibration(method: Quantizer, seed: int) -> None:
    """Inputs without any correlation say nothing; those of the layer must help."""
    weight, inputs = planted_layer(seed=seed)
    white = torch.randn(inputs.shape, generator=torch.Generator().manual_seed(seed))
    with_it = output_error(quantized(method, weight, inputs)[1], weight, inputs)
    without = output_error(quantized(method, weight, white)[1], weight, inputs)
    _require(
        with_it < without,
        f"the output error is {with_it:.4f} with the layer's own inputs and {without:.4f} with"
        " white noise",
    )


def _scale_free(method: Quantizer, seed: int) -> None:
    weight, inputs = planted_layer(seed=seed, dead=4)
    stats = stats_of(inputs)
    scaled = LayerStats(
        stats.hessian * 4096, stats.tokens
    )  # a power of two: no rounding of its own
    same = torch.equal(method(weight, stats).dequantize(), method(weight, scaled).dequantize())
    _require(same, "inputs 64 times as large give another weight")


def _refuses_statistics(method: Quantizer, seed: int) -> None:
    weight, _ = planted_layer(seed=seed)
    for stats, what in (
        (None, "no statistics"),
        (LayerStats(torch.eye(256), 0), "statistics of 0 tokens"),
        (LayerStats(torch.zeros(256, 256), 9), "inputs that are all zero"),
        (LayerStats(torch.eye(128), 9), "statistics of another layer"),
        (LayerStats(torch.full((256, 256), float("nan")), 9), "a Hessian of NaN"),
    ):
        _refused(lambda stats=stats: method(weight, stats), what)  # type: ignore[misc]


def _refused(call: Callable[[], object], what: str) -> None:
    try:
        call()
    except QuantizationError:
        return
    raise ContractBreach(f"{what} is taken without a QuantizationError")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ContractBreach(message)
