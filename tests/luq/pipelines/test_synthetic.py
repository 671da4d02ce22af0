"""Synthetic layers, and methods applied to them."""

import dataclasses

import pytest
import torch

from luq import AWQ, GPTQ, RTN
from luq.pipelines.synthetic import (
    LAYERS,
    ContractViolation,
    layer_errors,
    output_error,
    quantized,
    stats_of,
    synthetic_layer,
)


def test_layers_are_fixed_by_their_seed_and_have_the_dead_columns_that_were_ordered():
    (weight, inputs), (again, _), (other, _) = (synthetic_layer(seed=s, dead=4) for s in (1, 1, 2))
    assert torch.equal(weight, again)
    assert not torch.equal(weight, other)
    assert int((inputs == 0).all(dim=0).sum()) == 4
    assert int((stats_of(inputs).hessian.diagonal() == 0).sum()) == 4


def test_the_output_error_is_relative_to_the_output():
    weight, inputs = synthetic_layer(out=8, inner=16, tokens=32)
    assert output_error(weight, weight, inputs) == 0
    assert output_error(torch.zeros_like(weight), weight, inputs) == pytest.approx(1)


def test_errors_of_several_layers_fall_with_bits_and_with_calibration():
    rtn, gptq, more = layer_errors(RTN(3)), layer_errors(GPTQ(3)), layer_errors(GPTQ(4))
    assert len(rtn) == LAYERS
    assert all(m < g < r for m, g, r in zip(more, gptq, rtn, strict=True))
    assert layer_errors(RTN(3), seed=1) != rtn


def test_a_method_that_changes_its_block_is_caught():
    @dataclasses.dataclass(frozen=True)
    class InPlace(AWQ):
        def quantize_block(self, block, family, inputs):
            result = super().quantize_block(block, family, inputs)
            block.norm.weight.mul_(2)
            return result

    with pytest.raises(ContractViolation, match="the block's norm was changed"):
        quantized(InPlace(4), *synthetic_layer())
