"""What every registered method must keep, whichever it is."""

import dataclasses

import pytest
import torch

from luq.quantizers import GPTQ, PBLLM, QUANTIZERS, RTN, SAGE, BiLLM, build_quantizer, describe_quantizer, rebuild_weight
from luq.types import LayerStats, QuantizationError, stored_bits, stored_bytes
from tests.conftest import output_error, planted_layer, stats_of

METHODS = {
    "rtn4": RTN(4),
    "rtn3-channel": RTN(3, group=-1),
    "rtn4-symmetric": RTN(4, symmetric=True),
    "gptq4": GPTQ(4),
    "gptq3": GPTQ(3),
    "gptq2": GPTQ(2),
    "gptq8": GPTQ(8),
    "gptq4-symmetric": GPTQ(4, symmetric=True),
    "gptq3-act-order": GPTQ(3, act_order=True),
    "gptq3-static-groups": GPTQ(3, act_order=True, static_groups=True),
    "gptq3-group-64": GPTQ(3, group=64),
    "billm-code": BiLLM("code"),
    "billm-fixed": BiLLM("fixed"),
    "pbllm": PBLLM(),
    "sage": SAGE(sample=400),
    "sage-kmeans-8": SAGE(clustering="kmeans", groups=8),
}
WITH_STATS = [name for name, method in METHODS.items() if method.needs_stats]
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
every_calibrated_method = pytest.mark.parametrize("method", [METHODS[n] for n in WITH_STATS], ids=WITH_STATS)


def test_every_registered_method_is_in_this_suite():
    assert {method.method for method in METHODS.values()} == set(QUANTIZERS)


@every_method
def test_equal_arguments_give_equal_bits_and_arguments_stay_as_they_were(method):
    weight, inputs = planted_layer()
    stats = stats_of(inputs)
    before = weight.clone(), stats.hessian.clone()
    first, second = method(weight, stats), method(weight, stats)
    assert all(torch.equal(a, b) for a, b in zip(first.tensors().values(), second.tensors().values(), strict=True))
    assert torch.equal(weight, before[0])
    assert torch.equal(stats.hessian, before[1])


@every_method
def test_stored_tensors_alone_rebuild_the_evaluated_weight(method):
    weight, inputs = planted_layer(dead=3)
    packed = method(weight, stats_of(inputs))
    again = rebuild_weight(packed.format, packed.header(), {k: v.clone() for k, v in packed.tensors().items()})
    assert torch.equal(again.dequantize(), packed.dequantize())
    assert packed.dequantize().shape == weight.shape


@every_method
def test_zero_columns_zero_rows_and_constant_weights_stay_finite(method):
    weight, inputs = planted_layer(dead=5)
    weight[3], weight[:, 7], weight[5] = 0.0, 0.0, 0.25
    assert torch.isfinite(method(weight, stats_of(inputs)).dequantize()).all()


@every_method
def test_rows_that_are_no_multiple_of_the_group_work(method):
    weight, inputs = planted_layer(out=16, inner=320, tokens=1024)
    assert output_error(method(weight, stats_of(inputs)).dequantize(), weight, inputs) < 0.6


@every_method
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_is_refused(method, bad):
    weight, inputs = planted_layer()
    weight[2, 3] = bad
    with pytest.raises(QuantizationError, match="NaN or infinite"):
        method(weight, stats_of(inputs))


@every_calibrated_method
def test_the_scale_of_the_hessian_does_not_matter(method):
    weight, inputs = planted_layer(dead=4)
    stats = stats_of(inputs)
    scaled = LayerStats(stats.hessian * 4096, stats.tokens)  # a power of two: no rounding of its own
    assert torch.equal(method(weight, stats).dequantize(), method(weight, scaled).dequantize())


@every_calibrated_method
def test_permuting_the_rows_permutes_the_result(method):
    weight, inputs = planted_layer(out=32)
    stats = stats_of(inputs)
    order = torch.randperm(32, generator=torch.Generator().manual_seed(1))
    straight, permuted = method(weight, stats).dequantize()[order], method(weight[order], stats).dequantize()
    if isinstance(method, BiLLM):  # its searches sum over rows: another order of summation may move a tie
        assert (straight == permuted).float().mean() > 0.99
    else:
        assert torch.equal(straight, permuted)


@every_calibrated_method
def test_missing_or_empty_or_foreign_statistics_are_refused(method):
    weight, _ = planted_layer()
    for stats, reason in (
        (None, "got none"),
        (LayerStats(torch.eye(256), 0), "0 tokens"),
        (LayerStats(torch.zeros(256, 256), 9), "every input column is zero"),
        (LayerStats(torch.eye(128), 9), "need the same inputs"),
        (LayerStats(torch.full((256, 256), float("nan")), 9), "the Hessian holds"),
    ):
        with pytest.raises(QuantizationError, match=reason):
            method(weight, stats)


@every_calibrated_method
def test_a_rank_one_hessian_is_damped_and_stays_finite(method):
    weight, inputs = planted_layer(tokens=1)
    assert torch.isfinite(method(weight, stats_of(inputs)).dequantize()).all()


def test_a_raised_damping_is_told_as_an_event():
    weight, inputs = planted_layer(inner=128)
    hessian = stats_of(inputs).hessian
    hessian -= 0.3 * hessian.diagonal().mean() * torch.eye(128)  # no longer positive definite with 1 % of damping
    (event,) = GPTQ(4)(weight, LayerStats(hessian, 100)).events
    assert event.kind == "damping"
    assert "raised from 0.01" in event.detail
    with pytest.raises(QuantizationError, match="not positive definite even with"):
        GPTQ(4)(weight, LayerStats(-torch.eye(128), 100))


@pytest.mark.parametrize(("bits", "group"), [(4, 128), (3, 128), (2, 128), (3, 64)])
@pytest.mark.parametrize("seed", range(3))
def test_gptq_error_is_never_above_rtn_on_correlated_inputs(bits, group, seed):
    weight, inputs = planted_layer(seed=seed)
    gptq = GPTQ(bits, group=group)(weight, stats_of(inputs)).dequantize()
    rtn = RTN(bits, group=group)(weight, None).dequantize()
    assert output_error(gptq, weight, inputs) < output_error(rtn, weight, inputs)


def test_gptq_without_correlation_is_rtn():
    weight, _ = planted_layer()
    gptq = GPTQ(3)(weight, LayerStats(torch.eye(256), 256))
    assert torch.equal(gptq.dequantize(), RTN(3)(weight, None).dequantize())


@pytest.mark.parametrize(
    ("method", "bits"),
    [
        (GPTQ(4), 4 + 20 / 128),
        (GPTQ(3), 3 + 19 / 128),
        (GPTQ(2), 2 + 18 / 128),
        (GPTQ(4, symmetric=True), 4 + 16 / 128),
        (RTN(4), 4 + 20 / 128),
        (GPTQ(3, act_order=True), 3 + 19 / 128 + 1 / 64),  # one bit a column for the group of a reordered column
        (BiLLM("code"), 3 + 1 / 64),  # the column mask is shared by the 64 rows
        (BiLLM("fixed"), 3 + 1 / 64),
        (PBLLM(), 1 + 0.9 + 0.8 + (3 * 16 + 8) / 256),
    ],
    ids=str,
)
def test_stored_bits_are_what_the_format_promises(method, bits):
    weight, inputs = planted_layer(out=64, inner=256)
    packed = method(weight, stats_of(inputs))
    assert stored_bits(packed) == pytest.approx(bits, abs=8 / weight.numel() * 4)  # up to a padded byte for each tensor
    assert stored_bytes(packed) == sum(t.nbytes for t in packed.tensors().values())


def test_the_description_of_a_quantizer_builds_it_again():
    for method in METHODS.values():
        description = describe_quantizer(method)
        assert build_quantizer(description.pop("method"), description) == method


def test_unknown_methods_options_and_formats_are_refused_with_what_exists():
    with pytest.raises(ValueError, match="choose one of billm, gptq, pbllm, rtn, sage"):
        build_quantizer("gptx", {})
    with pytest.raises(ValueError, match=r"no option bit; it has bits"):
        build_quantizer("gptq", {"bit": 4})
    with pytest.raises(ValueError, match="variant must be code or fixed"):
        BiLLM("paper")
    with pytest.raises(QuantizationError, match="unknown weight format"):
        rebuild_weight("vector", {}, {})
    packed = RTN(4)(planted_layer()[0], None)
    with pytest.raises(QuantizationError, match="has the parts"):
        rebuild_weight("grid", packed.header(), {k: v for k, v in packed.tensors().items() if k != "scale"})


def test_quantizers_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        GPTQ(4).bits = 3  # type: ignore[misc]
