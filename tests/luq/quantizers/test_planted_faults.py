"""The contract suite is only worth something if it catches faults: each of these is planted, and at least one check must fail."""

import dataclasses

import pytest
import torch

import luq.quantizers.column_sweep as column_sweep
import luq.quantizers.gptq as gptq_module
from luq.quantizers import GPTQ, RTN
from luq.quantizers.grids import Grid, GridWeight
from luq.types import LayerStats, stored_bits
from tests.conftest import output_error, planted_layer, stats_of
from tests.luq.quantizers import test_contract as contract

METHOD = GPTQ(3)
ACT_ORDER = GPTQ(3, act_order=True)
REAL_FACTOR, REAL_SWEEP, REAL_FIT, REAL_COLUMNS = (
    column_sweep.inverse_factor, column_sweep.sweep_blocks, gptq_module.fit_grid, column_sweep.column_by_column,
)  # fmt: skip


def error_lies_below_roundings(method):
    """By the margin that error feedback gives on these layers; inputs fall to many orders of magnitude."""
    for seed in range(3):
        weight, inputs = planted_layer(seed=seed)
        ours = output_error(method(weight, stats_of(inputs)).dequantize(), weight, inputs)
        assert ours < 0.95 * output_error(RTN(method.bits)(weight, None).dequantize(), weight, inputs)


def grids_reach_the_extremes_of_a_row(method):
    """Without correlation nothing is fed back: values lie within half a step of the weight, up to the rounding of the stored scale."""
    weight, _ = planted_layer()
    packed = method(weight, LayerStats(torch.eye(256), 256))
    step = packed.scale.float().repeat_interleave(method.group, dim=1)
    assert ((packed.dequantize() - weight).abs() <= 0.51 * step).all()


def bits_are_as_promised(method):
    weight, inputs = planted_layer()
    extra = 1 / 64 if method.act_order else 0
    assert stored_bits(method(weight, stats_of(inputs))) == pytest.approx(method.bits + 19 / 128 + extra, abs=1e-9)


def plain_gptq(weight, hessian, method):
    """The published loop, one column after the other and no blocks: (out, in)."""
    weight, hessian = weight.double().clone(), hessian.double()
    damped = hessian + method.damping * hessian.diagonal().mean() * torch.eye(len(hessian))
    upper = torch.linalg.cholesky(torch.linalg.inv(damped), upper=True)
    result = torch.zeros_like(weight)
    for column in range(weight.shape[1]):
        if column % method.group == 0:
            part = weight[:, column : column + method.group]
            low, high = part.amin(1).clamp(max=0), part.amax(1).clamp(min=0)
            scale = ((high - low) / (2**method.bits - 1)).half().double()
            zero = (-low / scale).round()
        code = ((weight[:, column] / scale).round() + zero).clamp(0, 2**method.bits - 1)
        result[:, column] = scale * (code - zero)
        error = (weight[:, column] - result[:, column]) / upper[column, column]
        weight[:, column:] -= error[:, None] * upper[column, column:]
    return result.float()


def agrees_with_a_plain_loop(method):
    if method.act_order:
        return
    weight, inputs = planted_layer(seed=4)
    stats = stats_of(inputs)
    ours, theirs = method(weight, stats).dequantize(), plain_gptq(weight, stats.hessian, method)
    assert ((ours - theirs).abs() > 1e-5).float().mean() < 1e-3


CHECKS = (
    contract.test_equal_arguments_give_equal_bits_and_arguments_stay_as_they_were,
    contract.test_stored_tensors_alone_rebuild_the_evaluated_weight,
    contract.test_zero_columns_zero_rows_and_constant_weights_stay_finite,
    lambda method: contract.test_a_weight_that_is_not_finite_is_refused(method, float("nan")),
    contract.test_the_scale_of_the_hessian_does_not_matter,
    contract.test_permuting_the_rows_permutes_the_result,
    contract.test_missing_or_empty_or_foreign_statistics_are_refused,
    contract.test_a_rank_one_hessian_is_damped_and_stays_finite,
    error_lies_below_roundings,
    grids_reach_the_extremes_of_a_row,
    bits_are_as_promised,
    agrees_with_a_plain_loop,
)


def failed_checks(method):
    failed = []
    for check in CHECKS:
        try:
            check(method)
        except (AssertionError, pytest.fail.Exception, RuntimeError, IndexError, AttributeError):
            failed.append(getattr(check, "__name__", "check"))
    return failed


def test_the_correct_method_passes_every_check():
    assert failed_checks(METHOD) == []
    assert failed_checks(ACT_ORDER) == []


def wrap(method, change):
    """The method with its packed result changed."""
    call = type(method).__call__

    @dataclasses.dataclass(frozen=True)
    class Faulty(type(method)):
        def __call__(self, weight, stats):
            return change(call(method, weight, stats), weight)

    return Faulty(**dataclasses.asdict(method))


def repacked(packed, *, codes=None, scale=None, zero=None):
    weights = torch.zeros(packed.shape)
    groups = packed.scale.shape[1]
    from luq.packing import unpack_bits

    old = unpack_bits(packed.codes, packed.bits, weights.numel()).reshape(packed.shape).float()
    offsets = unpack_bits(packed.zero, packed.bits, packed.shape[0] * groups).reshape(-1, groups).float()
    index = packed.group_index
    fresh = GridWeight.pack(
        codes(old) if codes else old, scale(packed.scale.float()) if scale else packed.scale.float(), zero(offsets) if zero else offsets,
        bits=packed.bits, group=packed.group, scale_dtype=torch.float16,
    )  # fmt: skip
    return dataclasses.replace(fresh, group_index=index)


RESULT_FAULTS = {
    "groups are off by one": (METHOD, lambda p, w: repacked(p, scale=lambda s: s.roll(1, dims=1))),
    "scales are cut to eight bits": (METHOD, lambda p, w: repacked(p, scale=lambda s: s.to(torch.float8_e4m3fn).float())),
    "zero points are ignored": (METHOD, lambda p, w: repacked(p, zero=lambda z: torch.full_like(z, 4))),
    "codes are one too low": (METHOD, lambda p, w: repacked(p, codes=lambda c: (c - 1).clamp(min=0))),
    "the highest code is never used": (METHOD, lambda p, w: repacked(p, codes=lambda c: c.clamp(max=6))),
    "columns are stored in reverse": (METHOD, lambda p, w: repacked(p, codes=lambda c: c.flip(1))),
    "the scale is kept in single precision": (METHOD, lambda p, w: dataclasses.replace(p, scale=p.scale.float())),
    "the weight is written into": (METHOD, lambda p, w: (w.add_(1e-3), p)[1]),
    "results depend on what ran before": (METHOD, lambda p, w: repacked(p, scale=lambda s: s * (1 + 0.01 * torch.rand(())))),
    "one row is left as it was": (METHOD, lambda p, w: repacked(p, codes=lambda c: torch.cat([c[:1] * 0, c[1:]]))),
}


@pytest.mark.parametrize("fault", RESULT_FAULTS)
def test_a_fault_in_the_result_is_caught(fault):
    method, change = RESULT_FAULTS[fault]
    assert failed_checks(wrap(method, change))


def no_feedback(weight, factor, block, quantize):
    return REAL_SWEEP(weight, torch.diag(factor.diagonal()), block, quantize)


def feedback_with_the_wrong_sign(weight, factor, block, quantize):
    return REAL_SWEEP(weight, 2 * torch.diag(factor.diagonal()) - factor, block, quantize)


def feedback_inside_blocks_only(weight, factor, block, quantize):
    cut = factor.clone()
    for start in range(0, factor.shape[0], block):
        cut[start : start + block, start + block :] = 0
    return REAL_SWEEP(weight, cut, block, quantize)


def transposed_factor(hessian, damping):
    upper, events = REAL_FACTOR(hessian, damping)
    return upper.flip(0, 1), events


def absolute_damping(hessian, damping):
    return REAL_FACTOR(hessian + 0.05 * torch.eye(len(hessian)), damping)


def narrow_grid(weight, bits, **options):
    grid = REAL_FIT(weight, bits, **options)
    return Grid((grid.scale * 0.6).half().float(), grid.zero, grid.top)


def grid_of_the_next_columns(current_fit):
    def fit(self, weight):
        return current_fit(self, weight.roll(1, dims=0))

    return fit


PROCESS_FAULTS = {
    "no error feedback": ("sweep_blocks", no_feedback),
    "feedback has the wrong sign": ("sweep_blocks", feedback_with_the_wrong_sign),
    "feedback stops at the block": ("sweep_blocks", feedback_inside_blocks_only),
    "the factor belongs to the reversed columns": ("inverse_factor", transposed_factor),
    "damping does not scale with the Hessian": ("inverse_factor", absolute_damping),
    "grids are too narrow": ("fit_grid", narrow_grid),
}


@pytest.mark.parametrize("fault", PROCESS_FAULTS)
def test_a_fault_in_the_procedure_is_caught(fault, monkeypatch):
    name, replacement = PROCESS_FAULTS[fault]
    monkeypatch.setattr(gptq_module, name, replacement)
    assert failed_checks(METHOD)


def test_a_permutation_that_is_not_undone_is_caught(monkeypatch):
    monkeypatch.setattr(
        torch, "argsort", lambda values, **options: torch.sort(values, **options).indices if options else torch.arange(len(values))
    )
    assert "error_lies_below_roundings" in failed_checks(ACT_ORDER)


def test_grids_of_another_row_are_caught(monkeypatch):
    monkeypatch.setattr(GPTQ, "_fit", grid_of_the_next_columns(GPTQ._fit))
    assert failed_checks(METHOD)


def test_missing_checks_of_the_input_are_caught(monkeypatch):
    def careless(weight, stats, method):
        hessian = stats.hessian.double().clone()
        return weight.float().clone(), hessian, hessian.diagonal() == 0

    monkeypatch.setattr(gptq_module, "prepare", careless)
    assert failed_checks(METHOD)
