"""What every registered method must keep, whichever it is."""

import dataclasses

import pytest
import torch

from luq import AWQ, GPTQ, PBLLM, RTN, SAGE, BiLLM, FullPrecision
from luq.decoder.blocks import needs_inputs
from luq.pipelines.contract import contract_checks
from luq.pipelines.synthetic import output_error, quantized, stats_of, synthetic_layer
from luq.quantizers.registry import (
    build_quantizer,
    describe_quantizer,
    quantizer_classes,
    quantizer_label,
    rebuild_weight,
)
from luq.types import LayerStats, QuantizationError, UnknownFormat, stored_bits, stored_bytes
from tests.luq.cases import METHODS
from tests.luq.quantizers.oracles import ORACLES

WITH_STATS = [
    name for name, method in METHODS.items() if method.needs_stats and not needs_inputs(method)
]
CALIBRATED = [*WITH_STATS, *(name for name, method in METHODS.items() if needs_inputs(method))]


def every(names):
    return pytest.mark.parametrize("method", [METHODS[name] for name in names], ids=names)


CHECKS = [(name, check) for name, method in METHODS.items() for check in contract_checks(method)]
every_method, every_method_with_statistics, every_calibrated_method = (
    every(METHODS),
    every(WITH_STATS),
    every(CALIBRATED),
)


@pytest.mark.parametrize(("name", "check"), CHECKS, ids=lambda value: str(value).replace(" ", "-"))
def test_every_method_fulfils_the_contract(name, check):
    contract_checks(METHODS[name])[check](METHODS[name], 0)


def test_every_registered_method_is_in_this_suite():
    assert {method.method for method in METHODS.values()} == set(quantizer_classes())
    assert {"awq", "billm", "gptq", "none", "pbllm", "rtn", "sage"} <= set(quantizer_classes())


@every_method
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_is_refused(method, bad):
    weight, inputs = synthetic_layer()
    weight[2, 3] = bad
    with pytest.raises(QuantizationError, match="NaN or infinite"):
        quantized(method, weight, inputs)


@every_method
def test_what_is_no_matrix_is_refused_with_a_remedy(method):
    _, inputs = synthetic_layer()
    for weight in (torch.ones(4, 4, 256), torch.ones(256), torch.ones(0, 256)):
        with pytest.raises(
            QuantizationError,
            match=r"linear layer has \(out, in\)\. Leave other modules as they are",
        ):
            method(weight, stats_of(inputs))


@every_method
def test_the_result_does_not_depend_on_the_default_device(method):
    """Everything is made on the weight's own device: under another default, a tensor made elsewhere
    could not be mixed in.
    """
    weight, inputs = synthetic_layer(out=8, inner=130, tokens=300)
    stats = stats_of(inputs)
    expected = method(weight, stats).dequantize()
    if method.method == "sage":
        pytest.skip("its clustering runs on the CPU whatever the weight's device")
    with torch.device("meta"):
        packed = method(weight, stats)
        value = packed.dequantize()
    assert value.device.type == "cpu"
    assert torch.equal(value, expected)


@every_method
def test_a_weight_that_requires_a_gradient_gives_the_same_bits_and_no_graph(method):
    weight, inputs = synthetic_layer(out=8, inner=130, tokens=300)
    stats = stats_of(inputs)
    packed = method(torch.nn.Parameter(weight.clone()), stats)
    assert not any(tensor.requires_grad for tensor in packed.tensors().values())
    assert torch.equal(packed.dequantize(), method(weight, stats).dequantize())


@every(["awq", "awq(bits=3, duo=True)", "gptq(bits=3, true_sequential=True)"])
def test_the_scale_of_the_inputs_does_not_matter(method):
    weight, inputs = synthetic_layer()
    errors = [
        output_error(quantized(method, weight, x)[1], weight, inputs) for x in (inputs, inputs * 64)
    ]
    assert errors[0] == pytest.approx(errors[1], rel=0.02)


@every_method_with_statistics
def test_missing_or_empty_or_foreign_statistics_are_refused(method):
    weight, _ = synthetic_layer()
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
def test_r10_a_rank_one_calibration_gives_finite_weights_and_is_an_event_where_a_hessian_is_used(
    method,
):
    weight, inputs = synthetic_layer(tokens=4)
    inputs[1:] = inputs[0]
    packed, value = quantized(method, weight, inputs)
    assert torch.isfinite(value).all()
    if method.method != "awq":
        assert "4 calibration tokens for 256 inputs" in packed.events[0].detail


@every_method_with_statistics
def test_r10_a_raised_damping_is_an_event(method):
    weight, inputs = synthetic_layer(inner=128)
    hessian = stats_of(inputs).hessian
    hessian -= (
        0.3 * hessian.diagonal().mean() * torch.eye(128)
    )  # no longer positive definite with 1 % of damping
    for _ in range(2):  # the second time the factor is there, and the event is reported again
        (event,) = method(weight, stats := LayerStats(hessian, 1000)).events
        assert event.kind == "damping"
        assert "raised from 0.01" in event.detail
        assert method(weight, stats).events == (event,)
    with pytest.raises(QuantizationError, match="not positive definite even with"):
        method(weight, LayerStats(-torch.eye(128), 100))


@pytest.mark.parametrize(("bits", "group"), [(4, 128), (3, 128), (2, 128), (3, 64)])
@pytest.mark.parametrize("options", [{}, {"act_order": True}, {"true_sequential": True}], ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_gptq_error_is_never_above_rtn_on_correlated_inputs(bits, group, options, seed):
    weight, inputs = synthetic_layer(seed=seed)
    _, gptq = quantized(GPTQ(bits, group=group, **options), weight, inputs)
    _, rtn = quantized(RTN(bits, group=group), weight, inputs)
    assert output_error(gptq, weight, inputs) < output_error(rtn, weight, inputs)


@pytest.mark.parametrize("bits", [4, 3, 2])
@pytest.mark.parametrize("seed", range(3))
def test_awq_error_is_never_above_that_of_rounding_on_its_own_grid(bits, seed):
    """Plain rounding (α = 0) is among the candidates.

    Inputs with a few strong channels, which AWQ is for.
    """
    weight, inputs = synthetic_layer(seed=seed)
    inputs[:, ::32] *= 8
    method = AWQ(bits, clip=False)
    _, scaled = quantized(method, weight, inputs)
    assert output_error(scaled, weight, inputs) < output_error(
        method(weight, None).dequantize(), weight, inputs
    )


@pytest.mark.parametrize("seed", range(3))
def test_sage_with_feedback_has_less_output_error_than_without(seed):
    weight, inputs = synthetic_layer(seed=seed)
    options = {"clustering": "kmeans", "groups": 4}
    _, without = quantized(SAGE(**options), weight, inputs)
    _, with_feedback = quantized(SAGE(**options, feedback=True), weight, inputs)
    assert output_error(with_feedback, weight, inputs) < output_error(without, weight, inputs)


def test_gptq_without_correlation_is_rtn():
    weight, _ = synthetic_layer()
    gptq = GPTQ(3)(weight, LayerStats(torch.eye(256), 256))
    assert torch.equal(gptq.dequantize(), RTN(3)(weight, None).dequantize())


def test_true_sequential_on_a_single_linear_is_gptq():
    weight, inputs = synthetic_layer()
    (turn, _), (plain, _) = (
        quantized(GPTQ(3, true_sequential=True), weight, inputs),
        quantized(GPTQ(3), weight, inputs),
    )
    assert (
        turn.dequantize() == plain.dequantize()
    ).float().mean() > 0.999  # the Hessians are summed in another order


def test_the_unquantized_weight_is_stored_exactly_in_the_smallest_type():
    weight, _ = synthetic_layer()
    for dtype, bits in ((torch.bfloat16, 16), (torch.float16, 16), (torch.float32, 32)):
        packed = FullPrecision()(weight.to(dtype), None)
        assert torch.equal(packed.dequantize(), weight.to(dtype).float())
        assert stored_bits(packed) == packed.paper_bits == bits


def test_a_perturbation_moves_weights_by_no_more_than_it_says_by_seed_and_layer():
    weight, other = (synthetic_layer(seed=seed)[0].bfloat16().float() for seed in (0, 1))
    moved = [
        FullPrecision(perturbation=2**-8, seed=seed)(weight, None).dequantize() for seed in range(3)
    ]
    for value in moved:
        assert (
            (value - weight).abs() <= 2**-7 * weight.abs()
        ).all()  # itself, and the rounding to bfloat16
        assert 0.1 < (value != weight).float().mean() < 0.9
    assert not torch.equal(moved[0], moved[1])
    assert not torch.equal(moved[1], moved[2])
    same_place = (FullPrecision(perturbation=2**-8)(other, None).dequantize() != other) == (
        moved[0] != weight
    )
    assert 0.3 < same_place.float().mean() < 0.9
    with pytest.raises(QuantizationError, match=r"perturbation is 1\.5"):
        FullPrecision(perturbation=1.5)


@pytest.mark.parametrize("method", ORACLES, ids=quantizer_label)
def test_all_but_a_handful_of_weights_equal_a_plain_loop_of_the_published_algorithm(method):
    weight, inputs = synthetic_layer(out=24, seed=4)
    plain = ORACLES[method](weight, inputs)
    value = quantized(method, weight, inputs)[1]
    assert ((value - plain).abs() > 2e-3 * weight.abs().max()).float().mean() < 2e-3


@pytest.mark.parametrize(
    ("method", "bits"),
    [
        (GPTQ(4), 4 + 20 / 128),
        (GPTQ(3), 3 + 19 / 128),
        (GPTQ(2), 2 + 18 / 128),
        (GPTQ(8), 8 + 24 / 128),
        (GPTQ(4, symmetric=True), 4 + 16 / 128),
        (GPTQ(3, true_sequential=True), 3 + 19 / 128),
        (RTN(4), 4 + 20 / 128),
        (AWQ(4), 4 + 20 / 128),
        (
            GPTQ(3, act_order=True),
            3 + 19 / 128 + 1 / 64,
        ),  # one bit a column for the group of a reordered column
        (BiLLM("code"), 3 + 1 / 64),  # the column mask is shared by the 64 rows
        (BiLLM("fixed"), 3 + 1 / 64),
        (PBLLM(), 1 + 0.9 + 0.8 + (3 * 16 + 8) / 256),
    ],
    ids=str,
)
def test_r18_stored_bits_are_what_the_format_promises(method, bits):
    weight, inputs = synthetic_layer(out=64, inner=256)
    packed, _ = quantized(method, weight, inputs)
    assert stored_bits(packed) == pytest.approx(
        bits, abs=8 / weight.numel() * 4
    )  # up to a padded byte for each tensor
    assert stored_bytes(packed) == sum(t.nbytes for t in packed.tensors().values())


def test_the_description_of_a_quantizer_builds_it_again():
    for method in METHODS.values():
        description = describe_quantizer(method)
        assert build_quantizer(description.pop("method"), description) == method


@pytest.mark.parametrize(
    ("method", "options", "reason"),
    [
        ("gptq", {"bits": 9}, "bits is 9; choose 2 to 8"),
        ("rtn", {"bits": 1}, "bits is 1; choose 2 to 8"),
        ("awq", {"group": 0}, "group is 0; give a number of columns"),
        (
            "gptq",
            {"scale_dtype": "float8"},
            "scale_dtype is 'float8'; choose one of float16, float32",
        ),
        ("billm", {"scale_dtype": "int8"}, "choose one of float16, float32"),
        ("billm", {"variant": "paper"}, "variant must be code or fixed"),
        ("pbllm", {"salient": 1.5}, "above 0 and below 1"),
        ("sage", {"saliency": "column"}, "saliency must be matrix or row"),
        ("gptq", {"bit": 4}, "no option bit; it has bits"),
        ("gptx", {}, "choose one of awq, billm, external, gptq, none, pbllm, rtn, sage"),
    ],
)
def test_unsupported_options_are_refused_with_what_can_be_chosen(method, options, reason):
    with pytest.raises(QuantizationError, match=reason):
        build_quantizer(method, options)


def test_unknown_formats_and_missing_parts_are_refused():
    with pytest.raises(UnknownFormat, match="'vector', which no installed package knows: install"):
        rebuild_weight("vector", {}, {})
    packed = RTN(4)(synthetic_layer()[0], None)
    with pytest.raises(QuantizationError, match="has the parts"):
        rebuild_weight(
            "grid", packed.header(), {k: v for k, v in packed.tensors().items() if k != "scale"}
        )


@every_method
def test_quantizers_are_frozen(method):
    field = dataclasses.fields(method)[0].name if dataclasses.fields(method) else "anything"
    with pytest.raises((dataclasses.FrozenInstanceError, TypeError)):
        setattr(method, field, 3)


@every_calibrated_method
def test_r11_dead_columns_leave_the_calibration_output_as_it_is_without_them(method):
    """Weights of columns that are always zero may be anything: the output error is that of the
    layer without these columns.
    """
    weight, inputs = synthetic_layer(inner=256, seed=2)
    inputs[:, 192:] = 0  # whole groups of live columns stay together
    whole = output_error(quantized(method, weight, inputs)[1], weight, inputs)
    wild = weight.clone()
    wild[:, 192:] = 0.0
    alone = output_error(quantized(method, wild, inputs)[1], wild, inputs)
    assert whole == pytest.approx(alone, rel=0.35)


@pytest.mark.parametrize("columns", [512, 514, 600])
def test_act_order_has_more_groups_than_a_byte_counts(columns):
    weight, inputs = synthetic_layer(out=4, inner=columns, tokens=1200)
    method = GPTQ(4, group=2, act_order=True)
    packed, value = quantized(method, weight, inputs)
    again = rebuild_weight(packed.format, packed.header(), packed.tensors())
    assert torch.equal(again.dequantize(), value)
    assert output_error(value, weight, inputs) < 0.01
