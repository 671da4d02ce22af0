"""Hessians of the parts of a calibration are those of the whole."""

import pytest
import torch

from luq.calibration.hessian import SumOfParts, summed
from luq.types import LayerStats, QuantizationError


def test_parts_that_come_one_by_one_sum_up_bit_for_bit_to_what_all_of_them_do():
    generator = torch.Generator().manual_seed(0)
    parts = []
    for tokens in (7, 64, 1, 129):
        shared, own = (
            LayerStats(torch.rand(16, 16, generator=generator), tokens) for _ in range(2)
        )
        parts.append({"q": shared, "k": shared, "down": own})
    running = SumOfParts(201)
    for part in parts:
        running.add(part)
    found = running.stats()
    for name in ("q", "k", "down"):
        expected = summed([part[name] for part in parts])
        assert torch.equal(found[name].hessian, expected.hessian)
        assert found[name].tokens == expected.tokens == 201
    assert found["q"] is found["k"]


def test_parts_with_other_tokens_than_said_are_refused():
    running = SumOfParts(200)
    running.add({"q": LayerStats(torch.eye(2), 199)})
    with pytest.raises(QuantizationError, match="had 199 tokens, not 200"):
        running.stats()
