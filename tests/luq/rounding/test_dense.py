"""Weights that are stored unquantized."""

import pytest
import torch

from luq.rounding.dense import DenseWeight, smallest_exact


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1.0, -0.5, 2.0**100], torch.bfloat16),
        ([1.0, 1 + 2**-10], torch.float16),
        ([1.0, 1 + 2**-20], torch.float32),
    ],
)
def test_the_smallest_type_that_holds_every_value_is_chosen(values, dtype):
    tensor = torch.tensor(values)
    small = smallest_exact(tensor)
    assert small.dtype == dtype
    assert torch.equal(small.float(), tensor)


@pytest.mark.parametrize("dtype", [torch.int64, torch.float64, torch.uint8])
def test_other_types_stay(dtype):
    tensor = torch.ones(3, dtype=dtype)
    assert smallest_exact(tensor) is tensor


def test_a_dense_weight_counts_the_bits_of_its_type():
    packed = DenseWeight(torch.ones(4, 8, dtype=torch.bfloat16))
    assert packed.paper_bits == 16
    assert packed.shape == (4, 8)
    assert packed.dequantize().dtype == torch.float32
