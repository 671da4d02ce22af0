"""The contract of a quantizer: what every method must do, checked on small synthetic layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

import torch
from torch import Tensor

from luq.decoder.blocks import needs_calibration, needs_inputs
from luq.pipelines.synthetic import (
    ContractViolation,
    output_error,
    quantized,
    require,
    stats_of,
    synthetic_layer,
)
from luq.quantizers.registry import build_quantizer, quantizer_label, rebuild_weight
from luq.types import LayerStats, QuantizationError, Quantizer, stored_bits, stored_bytes

# A check gets the method and a seed of its layers, and raises if the method fails.
Check = Callable[[Quantizer, int], None]


def contract_cases(classes: Iterable[type[Quantizer]]) -> dict[str, Quantizer]:
    """Return the quantizers on which the contract is tested, by label.

    They are those in `contract_options` of each class, or the one with default options.
    """
    cases: dict[str, Quantizer] = {}
    for cls in classes:
        default: tuple[Mapping[str, object], ...] = ({},)
        for options in getattr(cls, "contract_options", default):
            quantizer = build_quantizer(cls.method, options)
            cases[quantizer_label(quantizer)] = quantizer
    return cases


def contract_checks(method: Quantizer) -> dict[str, Check]:
    """Return the checks that apply to a method, by what they claim.

    A check raises ContractViolation. A method that makes it raise anything else fails, too.
    """
    checks: dict[str, Check] = {
        "equal arguments give equal bits": _deterministic,
        "stored tensors alone rebuild the evaluated weight": _rebuilds,
        "stored bits are those of the stored tensors, and no fewer than claimed": _counts,
        "zero columns, zero rows and constant weights stay finite": _finite,
        "rows that are no multiple of a group work": _ragged,
        "a weight that is not finite is refused": _refuses_nan,
        "what is no matrix is refused": _refuses_no_matrix,
        "very large and very small weights lose as little, or are refused": _any_scale,
        "one thread and two give the same weights": _any_threads,
    }
    if needs_calibration(method):
        checks["permuted rows give permuted results"] = _permutes
        checks["a rank-one calibration gives finite weights"] = _rank_one
        checks["calibration lowers the output error"] = _uses_calibration
    if needs_calibration(method) and not needs_inputs(method):
        checks["the scale of the Hessian does not matter"] = _scale_free
        checks["missing or foreign statistics are refused"] = _refuses_statistics
    return checks


def _deterministic(method: Quantizer, seed: int) -> None:
    weight, inputs = synthetic_layer(seed=seed)
    before = weight.clone(), inputs.clone()
    first, first_value = quantized(method, weight, inputs)
    second, second_value = quantized(method, weight, inputs)
    pairs = zip(first.tensors().values(), second.tensors().values(), strict=True)
    require(
        all(torch.equal(a, b) for a, b in pairs) and torch.equal(first_value, second_value),
        "the same weight gave other bits the second time",
    )
    require(
        torch.equal(weight, before[0]) and torch.equal(inputs, before[1]),
        "an argument was written into",
    )


def _rebuilds(method: Quantizer, seed: int) -> None:
    weight, inputs = synthetic_layer(seed=seed, dead=3)
    packed, _ = quantized(method, weight, inputs)
    copies = {name: tensor.clone() for name, tensor in packed.tensors().items()}
    again = rebuild_weight(packed.format, packed.header(), copies)
    require(
        torch.equal(again.dequantize(), packed.dequantize()),
        "rebuilt from its stored tensors, the weight is another",
    )
    require(
        tuple(packed.dequantize().shape) == tuple(packed.shape) == tuple(weight.shape),
        "the rebuilt weight has another shape",
    )


def _counts(method: Quantizer, seed: int) -> None:
    weight, inputs = synthetic_layer(seed=seed)
    packed, _ = quantized(method, weight, inputs)
    stored = sum(tensor.numel() * tensor.element_size() for tensor in packed.tensors().values())
    require(
        stored_bytes(packed) == stored,
        f"it declares {stored_bytes(packed)} bytes and stores {stored}",
    )
    require(
        stored_bits(packed) >= packed.paper_bits - 0.01,
        f"it stores {stored_bits(packed):.3f} bits and claims {packed.paper_bits:.3f}",
    )


def _finite(method: Quantizer, seed: int) -> None:
    weight, inputs = synthetic_layer(seed=seed, dead=5)
    weight[3], weight[:, 7], weight[5] = 0.0, 0.0, 0.25
    _require_finite(quantized(method, weight, inputs)[1])


def _ragged(method: Quantizer, seed: int) -> None:
    for inner in (320, 576, 130):
        weight, inputs = synthetic_layer(out=16, inner=inner, tokens=1024, seed=seed)
        packed, value = quantized(method, weight, inputs)
        require(tuple(packed.shape) == (16, inner), f"{inner} columns became {tuple(packed.shape)}")
        error = output_error(value, weight, inputs)
        require(error < 0.6, f"with {inner} columns the output error is {error:.2f}")


def _refuses_nan(method: Quantizer, seed: int) -> None:
    for bad in (float("nan"), float("inf")):
        weight, inputs = synthetic_layer(seed=seed)
        weight[2, 3] = bad
        _require_refused(partial(quantized, method, weight, inputs), f"a weight with {bad}")


def _refuses_no_matrix(method: Quantizer, seed: int) -> None:
    stats = stats_of(synthetic_layer(seed=seed)[1])
    for weight in (torch.ones(4, 4, 256), torch.ones(256), torch.ones(0, 256)):
        _require_refused(partial(method, weight, stats), f"a tensor of shape {tuple(weight.shape)}")


def _any_scale(method: Quantizer, seed: int) -> None:
    """Weights below the normal numbers of a scale's type may lose more, but are not lost."""
    weight, inputs = synthetic_layer(seed=seed)
    plain = output_error(quantized(method, weight, inputs)[1], weight, inputs)
    for factor in (2.0, 1e4, 1e-4):
        scaled = weight * factor
        try:
            value = quantized(method, scaled, inputs)[1]
        except QuantizationError:
            continue
        error = output_error(value, scaled, inputs)
        require(  # NaN is not below anything
            error <= 2 * plain + 1e-6,
            f"weights {factor:g} times as large have the output error {error:.4f}, not {plain:.4f}",
        )


def _any_threads(method: Quantizer, seed: int) -> None:
    """Allow some difference: sums in another order may break ties in another way."""
    weight, inputs = synthetic_layer(seed=seed)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = quantized(method, weight, inputs)[1]
        torch.set_num_threads(2)
        two = quantized(method, weight, inputs)[1]
    finally:
        torch.set_num_threads(before)
    same = float(torch.isclose(one, two, rtol=1e-5, atol=1e-7).float().mean())
    require(same > 0.99, f"only {same:.1%} of the weights are the same with another thread")


def _permutes(method: Quantizer, seed: int) -> None:
    """Allow some difference: searches that sum over rows may break ties in another way."""
    weight, inputs = synthetic_layer(out=32, seed=seed)
    order = torch.randperm(32, generator=torch.Generator().manual_seed(seed + 1))
    permuted = quantized(method, weight[order], inputs)[1]
    expected = quantized(method, weight, inputs)[1][order]
    same = float(torch.isclose(expected, permuted, rtol=1e-5, atol=1e-7).float().mean())
    require(same > 0.99, f"only {same:.1%} of the weights follow a permutation of the rows")


def _rank_one(method: Quantizer, seed: int) -> None:
    weight, inputs = synthetic_layer(tokens=4, seed=seed)
    inputs[1:] = inputs[0]
    _require_finite(quantized(method, weight, inputs)[1])


def _uses_calibration(method: Quantizer, seed: int) -> None:
    """Compare with inputs without any correlation, which carry no information."""
    weight, inputs = synthetic_layer(seed=seed)
    white = torch.randn(inputs.shape, generator=torch.Generator().manual_seed(seed))
    with_inputs = output_error(quantized(method, weight, inputs)[1], weight, inputs)
    with_noise = output_error(quantized(method, weight, white)[1], weight, inputs)
    require(
        with_inputs < with_noise,
        f"the output error is {with_inputs:.4f} with the layer's own inputs and {with_noise:.4f}"
        " with white noise",
    )


def _scale_free(method: Quantizer, seed: int) -> None:
    weight, inputs = synthetic_layer(seed=seed, dead=4)
    stats = stats_of(inputs)
    scaled = LayerStats(stats.hessian * 4096, stats.tokens)  # a power of two rounds nothing
    same = torch.equal(method(weight, stats).dequantize(), method(weight, scaled).dequantize())
    require(same, "inputs 64 times as large give another weight")


def _refuses_statistics(method: Quantizer, seed: int) -> None:
    weight, _ = synthetic_layer(seed=seed)
    for stats, what in (
        (None, "no statistics"),
        (LayerStats(torch.eye(256), 0), "statistics of 0 tokens"),
        (LayerStats(torch.zeros(256, 256), 9), "inputs that are all zero"),
        (LayerStats(torch.eye(128), 9), "statistics of another layer"),
        (LayerStats(torch.full((256, 256), float("nan")), 9), "a Hessian of NaN"),
    ):
        _require_refused(partial(method, weight, stats), what)


def _require_refused(call: Callable[[], object], what: str) -> None:
    try:
        call()
    except QuantizationError:
        return
    raise ContractViolation(f"{what} is accepted without a QuantizationError")


def _require_finite(value: Tensor) -> None:
    require(bool(torch.isfinite(value).all()), "NaN or infinite weights")
