"""Scales below the normal numbers of their type: as good as ever, or refused with the remedy."""

import pytest
import torch

from luq import AWQ, GPTQ, PBLLM, RTN, SAGE, BiLLM
from luq.pipelines.synthetic import output_error, quantized, synthetic_layer
from luq.rounding.grids import fit_grid, stored_scale
from luq.types import QuantizationError

METHODS = {
    "rtn4": RTN(4),
    "rtn8": RTN(8),
    "gptq4": GPTQ(4),
    "awq4": AWQ(4),
    "billm": BiLLM(),
    "pbllm": PBLLM(),
    "sage": SAGE(clustering="kmeans", groups=8),
}


@pytest.fixture(scope="module")
def layer():
    return synthetic_layer(out=16, inner=128, seed=3)


@pytest.mark.parametrize("name", METHODS)
def test_small_weights_lose_no_more_than_large_ones_or_are_refused(layer, name):
    weight, inputs = layer
    usual = output_error(quantized(METHODS[name], weight, inputs)[1], weight, inputs)
    refused = 0
    for power in (5, 9, 13, 17, 24, 40):
        small = weight * 2.0**-power
        try:
            packed, value = quantized(METHODS[name], small, inputs)
        except QuantizationError as error:
            refused += "scale_dtype=float32" in str(error)
            continue
        assert packed.events or output_error(value, small, inputs) <= 1.5 * usual, power
    assert refused > 0


def test_scales_in_single_precision_take_what_half_precision_refuses(layer):
    weight, inputs = layer
    small = weight * 2.0**-20
    with pytest.raises(QuantizationError, match=r"too small for torch\.float16"):
        quantized(RTN(4), small, inputs)
    usual = output_error(quantized(RTN(4), weight, inputs)[1], weight, inputs)
    value = quantized(RTN(4, scale_dtype="float32"), small, inputs)[1]
    assert output_error(value, small, inputs) == pytest.approx(usual, rel=0.05)


def test_a_matrix_of_zeros_and_rows_that_are_small_beside_others_have_a_grid():
    zeros = fit_grid(torch.zeros(2, 8), 4, symmetric=False, scale_dtype=torch.float16)
    assert bool((zeros.scale > 0).all())
    mixed = torch.cat([torch.ones(1, 8), torch.full((1, 8), 1e-9)])
    grid = fit_grid(mixed, 4, symmetric=False, scale_dtype=torch.float16)
    assert bool((grid.scale > 0).all())


def test_a_stored_scale_is_a_number_of_its_type_and_never_zero():
    scale = torch.tensor([1e-12, 3e-6, 0.1])
    stored = stored_scale(scale, torch.float16)
    assert torch.equal(stored.half().float(), stored)
    assert bool((stored > 0).all())
    with pytest.raises(QuantizationError, match=r"does not fit into torch\.float16"):
        stored_scale(torch.tensor([1e6]), torch.float16)
