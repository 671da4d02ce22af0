"""The contract suite is only worth something if it catches faults: each of these is planted, and at
least one check must fail.
"""

import dataclasses

import pytest
import torch

import luq.quantizers.awq as awq_module
import luq.quantizers.awq_search as awq_search
import luq.quantizers.billm as billm_module
import luq.quantizers.gptq as gptq_module
import luq.quantizers.pbllm as pbllm_module
import luq.rounding.error_feedback as column_sweep
from luq import AWQ, GPTQ, PBLLM, RTN, SAGE, BiLLM
from luq.pipelines.contract import contract_checks
from luq.pipelines.synthetic import ContractViolation, output_error, quantized, synthetic_layer
from luq.rounding.grids import Grid, GridWeight
from luq.rounding.packing import unpack_bits
from luq.types import LayerStats, stored_bits
from tests.luq.quantizers.oracles import ORACLES, plain_sage

REAL_FACTOR, REAL_SWEEP, REAL_FIT = (
    column_sweep.inverse_factor,
    column_sweep.sweep_blocks,
    gptq_module.fit_grid,
)


def error_lies_below_roundings(method):
    """By the margin that error feedback gives on these layers; inputs fall to many orders of
    magnitude.
    """
    for seed in range(3):
        weight, inputs = synthetic_layer(seed=seed)
        ours = output_error(quantized(method, weight, inputs)[1], weight, inputs)
        assert ours < 0.95 * output_error(
            RTN(method.bits)(weight, None).dequantize(), weight, inputs
        )


def grids_reach_the_extremes_of_a_row(method):
    """Without correlation nothing is fed back: values lie within half a step of the weight, up to
    the rounding of the stored scale.
    """
    weight, _ = synthetic_layer()
    packed = method(weight, LayerStats(torch.eye(256), 256))
    step = packed.scale.float().repeat_interleave(method.group, dim=1)
    assert ((packed.dequantize() - weight).abs() <= 0.51 * step).all()


def bits_are_as_promised(bits):
    def check(method):
        weight, inputs = synthetic_layer()
        assert stored_bits(quantized(method, weight, inputs)[0]) == pytest.approx(bits, abs=1e-9)

    return check


def agrees_with_a_plain_loop(correct):
    def check(method):
        weight, inputs = synthetic_layer(out=24, seed=4)
        value, plain = quantized(method, weight, inputs)[1], ORACLES[correct](weight, inputs)
        assert ((value - plain).abs() > 2e-3 * weight.abs().max()).float().mean() < 2e-3

    return check


def has_the_error_of_its_definition(method):
    weight, inputs = synthetic_layer(seed=4)
    ours, plain = (
        quantized(method, weight, inputs)[1],
        plain_sage(weight, method.groups, method.salient_low),
    )
    assert float((ours - weight).square().sum()) < 1.02 * float((plain - weight).square().sum())


def fulfils_the_contract(method):
    for check in contract_checks(method).values():
        check(method, 0)


BACKENDS = {
    "rtn": (
        RTN(4),
        (
            fulfils_the_contract,
            bits_are_as_promised(4 + 20 / 128),
            agrees_with_a_plain_loop(RTN(4)),
        ),
    ),
    "gptq": (
        GPTQ(3),
        (
            fulfils_the_contract,
            error_lies_below_roundings,
            grids_reach_the_extremes_of_a_row,
            bits_are_as_promised(3 + 19 / 128),
            agrees_with_a_plain_loop(GPTQ(3)),
        ),
    ),
    "gptq-act-order": (
        GPTQ(3, act_order=True),
        (
            fulfils_the_contract,
            error_lies_below_roundings,
            bits_are_as_promised(3 + 19 / 128 + 1 / 64),
        ),
    ),
    "awq": (
        AWQ(3, clip=False),
        (
            fulfils_the_contract,
            bits_are_as_promised(3 + 19 / 128),
            agrees_with_a_plain_loop(AWQ(3, clip=False)),
        ),
    ),
    "billm": (BiLLM(), (fulfils_the_contract, agrees_with_a_plain_loop(BiLLM()))),
    "pbllm": (PBLLM(), (fulfils_the_contract, agrees_with_a_plain_loop(PBLLM()))),
    "sage": (
        SAGE(clustering="kmeans", groups=8, salient_low=0.02, salient_high=0.02),
        (fulfils_the_contract, has_the_error_of_its_definition),
    ),
}


def failed_checks(backend, method=None):
    correct, checks = BACKENDS[backend]
    failed = []
    for check in checks:
        try:
            check(correct if method is None else method)
        except (AssertionError, ContractViolation, RuntimeError, IndexError, AttributeError):
            failed.append(getattr(check, "__name__", "check"))
    return failed


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_correct_method_passes_every_check(backend):
    assert failed_checks(backend) == []


def wrap(method, change):
    """The method with its packed result changed; changed parameters of a block stay."""
    plain = type(method)

    @dataclasses.dataclass(frozen=True)
    class Faulty(plain):
        def __call__(self, weight, stats):
            return change(plain.__call__(self, weight, stats), weight)

    if method.method == "awq":  # its search calls the method too: the fault comes after it

        def quantize_block(self, block, family, inputs):
            result = method.quantize_block(block, family, inputs)
            return dataclasses.replace(
                result,
                linears={n: change(w, block.linear.weight.data) for n, w in result.linears.items()},
            )

        Faulty.quantize_block = quantize_block
    return Faulty(**dataclasses.asdict(method))


# Each stored tensor of each backend, moved by one place and with its values turned round.
STORED = {
    "rtn": ("codes", "scale", "zero"),
    "gptq": ("codes", "scale", "zero"),
    "gptq-act-order": ("group_index",),
    "awq": ("codes", "scale", "zero"),
    "billm": ("salient", "sparse", "first", "second", "means", "scales"),
    "pbllm": ("low", "signs", "codes", "mean", "scale", "step"),
    "sage": ("signs", "ids", "centroids", "codes", "step"),
}


def moved(tensor):
    return tensor.roll(1, dims=0)


def turned(tensor):
    return ~tensor if tensor.dtype == torch.uint8 else tensor * 1.25


@pytest.mark.parametrize("change", [moved, turned])
@pytest.mark.parametrize(
    ("backend", "part"), [(backend, part) for backend, parts in STORED.items() for part in parts]
)
def test_a_fault_in_any_stored_tensor_is_caught(backend, part, change):
    faulty = wrap(
        BACKENDS[backend][0],
        lambda packed, _weight: dataclasses.replace(
            packed, **{part: change(getattr(packed, part))}
        ),
    )
    assert failed_checks(backend, faulty)


def repacked(packed, *, codes=None, scale=None, zero=None):
    groups = packed.scale.shape[1]
    old = (
        unpack_bits(packed.codes, packed.bits, packed.shape[0] * packed.shape[1])
        .reshape(packed.shape)
        .float()
    )
    offsets = (
        unpack_bits(packed.zero, packed.bits, packed.shape[0] * groups).reshape(-1, groups).float()
    )
    return GridWeight.pack(
        codes(old) if codes else old,
        scale(packed.scale.float()) if scale else packed.scale.float(),
        zero(offsets) if zero else offsets,
        bits=packed.bits,
        group=packed.group,
        scale_dtype=torch.float16,
    )


GRID_FAULTS = {
    "groups are off by one": lambda p, w: repacked(p, scale=lambda s: s.roll(1, dims=1)),
    "scales are cut to eight bits": lambda p, w: repacked(
        p, scale=lambda s: s.to(torch.float8_e4m3fn).float()
    ),
    "zero points are ignored": lambda p, w: repacked(
        p, zero=lambda z: torch.full_like(z, 2 ** (p.bits - 1))
    ),
    "codes are one too low": lambda p, w: repacked(p, codes=lambda c: (c - 1).clamp(min=0)),
    "the highest code is never used": lambda p, w: repacked(
        p, codes=lambda c: c.clamp(max=2**p.bits - 2)
    ),
    "columns are stored in reverse": lambda p, w: repacked(p, codes=lambda c: c.flip(1)),
    "the scale is stored in single precision": lambda p, w: dataclasses.replace(
        p, scale=p.scale.float()
    ),
    "the weight is written into": lambda p, w: (w.add_(1e-3), p)[1],
    "results depend on what ran before": lambda p, w: repacked(
        p, scale=lambda s: s * (1 + 0.01 * torch.rand(()))
    ),
    "one row is left as it was": lambda p, w: repacked(
        p, codes=lambda c: torch.cat([c[:1] * 0, c[1:]])
    ),
}


@pytest.mark.parametrize("backend", ["rtn", "gptq", "awq"])
@pytest.mark.parametrize("fault", GRID_FAULTS)
def test_a_fault_in_a_grid_is_caught(fault, backend):
    assert failed_checks(backend, wrap(BACKENDS[backend][0], GRID_FAULTS[fault]))


def no_feedback(weight, factor, block, quantize):
    return REAL_SWEEP(weight, torch.diag(factor.diagonal()), block, quantize)


def feedback_with_the_wrong_sign(weight, factor, block, quantize):
    return REAL_SWEEP(weight, 2 * torch.diag(factor.diagonal()) - factor, block, quantize)


def feedback_inside_blocks_only(weight, factor, block, quantize):
    cut = factor.clone()
    for start in range(0, factor.shape[0], block):
        cut[start : start + block, start + block :] = 0
    return REAL_SWEEP(weight, cut, block, quantize)


def transposed_factor(stats, damping, device, **options):
    upper, events = REAL_FACTOR(stats, damping, device, **options)
    return upper.flip(0, 1), events


def absolute_damping(stats, damping, device, **options):
    return REAL_FACTOR(
        LayerStats(stats.hessian + 0.05 * torch.eye(len(stats.hessian)), stats.tokens),
        damping,
        device,
        **options,
    )


def narrow_grid(weight, bits, **options):
    grid = REAL_FIT(weight, bits, **options)
    return Grid((grid.scale * 0.6).half().float(), grid.zero, grid.top)


def careless(weight, stats, method):
    return weight.float().clone(), stats, stats.hessian.diagonal() == 0


def grid_of_the_next_columns(current_fit):
    def fit(self, weight):
        return current_fit(self, weight.roll(1, dims=0))

    return fit


SWEEP_FAULTS = {
    "no error feedback": ("sweep_blocks", no_feedback),
    "feedback has the wrong sign": ("sweep_blocks", feedback_with_the_wrong_sign),
    "feedback stops at the block": ("sweep_blocks", feedback_inside_blocks_only),
    "the factor belongs to the reversed columns": ("inverse_factor", transposed_factor),
    "damping does not scale with the Hessian": ("inverse_factor", absolute_damping),
    "the input is not checked": ("prepare", careless),
}
SWEEPERS = {"gptq": gptq_module, "billm": billm_module, "pbllm": pbllm_module}


@pytest.mark.parametrize("backend", SWEEPERS)
@pytest.mark.parametrize("fault", SWEEP_FAULTS)
def test_a_fault_in_the_sweep_is_caught(fault, backend, monkeypatch):
    monkeypatch.setattr(SWEEPERS[backend], *SWEEP_FAULTS[fault])
    assert failed_checks(backend)


def test_grids_that_are_too_narrow_are_caught(monkeypatch):
    monkeypatch.setattr(gptq_module, "fit_grid", narrow_grid)
    assert failed_checks("gptq")


def test_a_permutation_that_is_not_undone_is_caught(monkeypatch):
    monkeypatch.setattr(
        torch,
        "argsort",
        lambda values, **options: (
            torch.sort(values, **options).indices if options else torch.arange(len(values))
        ),
    )
    assert "error_lies_below_roundings" in failed_checks("gptq-act-order")


def test_grids_of_another_row_are_caught(monkeypatch):
    monkeypatch.setattr(GPTQ, "_fit", grid_of_the_next_columns(GPTQ._fit))
    assert failed_checks("gptq")


def scales_are_only_in_the_weights(block, group, scale):
    REAL_FOLD(block, group, scale)
    block.norm.weight.data.fill_(1.0)


REAL_FOLD, REAL_CANDIDATE = awq_module.fold, awq_search.candidate
AWQ_FAULTS = {
    "scales are not taken back": (awq_module, "fold", scales_are_only_in_the_weights),
    "scales are inverted": (
        awq_search,
        "candidate",
        lambda activity, spread, alpha: 1 / REAL_CANDIDATE(activity, spread, alpha),
    ),
    "every candidate is rounding": (
        awq_search,
        "candidate",
        lambda activity, spread, alpha: torch.ones_like(activity),
    ),
}


@pytest.mark.parametrize("fault", AWQ_FAULTS)
def test_a_fault_in_awqs_scales_is_caught(fault, monkeypatch):
    monkeypatch.setattr(*AWQ_FAULTS[fault])
    assert failed_checks("awq")


class LosesSmallWeights(RTN):
    def __call__(self, weight, stats):
        return super().__call__(weight * (weight.abs() > 1e-5), stats)


class LosesLargeWeights(RTN):
    def __call__(self, weight, stats):
        return super().__call__(weight * (weight.abs() < 60), stats)


class DependsOnThreads(RTN):
    def __call__(self, weight, stats):
        return super().__call__(weight * (1 + 0.01 * torch.get_num_threads()), stats)


@pytest.mark.parametrize(
    ("method", "claim"),
    [
        (LosesSmallWeights(), "very large and very small weights"),
        (LosesLargeWeights(), "very large and very small weights"),
        (DependsOnThreads(), "one thread and two"),
    ],
)
def test_a_method_that_fails_for_some_scales_or_threads_breaks_that_claim_alone(method, claim):
    broken = []
    for name, check in contract_checks(method).items():
        try:
            check(method, 0)
        except ContractViolation:
            broken.append(name)
    (only,) = broken
    assert only.startswith(claim)


def test_the_contract_leaves_the_number_of_threads_as_it_was():
    threads = torch.get_num_threads()
    contract_checks(RTN())["one thread and two give the same weights"](RTN(), 0)
    assert torch.get_num_threads() == threads
