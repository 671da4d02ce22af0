import math

import pytest
import torch

from harness.store import digest
from luq import RTN
from luq.decoder.blocks import BlockWeights


def test_the_order_of_keys_does_not_matter_and_every_value_does():
    assert digest.of_value({"a": 1, "b": [2]}) == digest.of_value({"b": [2], "a": 1})
    assert (
        len({digest.of_value(v) for v in ({"a": 1}, {"a": 2}, {"a": "1"}, {"a": [1]}, {"b": 1})})
        == 5
    )


def test_nan_has_no_digest():
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest.of_value(math.nan)


def test_bytes_shape_and_dtype_of_a_tensor_all_count():
    base = torch.zeros(4, 2)
    others = [
        torch.zeros(2, 4),
        torch.zeros(8),
        torch.zeros(4, 2, dtype=torch.int32),
        torch.tensor(0.0),
    ]
    assert len({digest.of_tensor(t) for t in (base, *others)}) == 5
    assert digest.of_tensor(torch.arange(6).reshape(2, 3).T) == digest.of_tensor(
        torch.arange(6).reshape(2, 3).T.contiguous()
    )


def test_one_flipped_weight_bit_changes_the_digest_of_a_block():
    torch.manual_seed(0)
    weight = torch.randn(8, 128)
    first, second = RTN(4)(weight, None), RTN(4)(weight, None)
    assert digest.of_block(BlockWeights({"a": first})) == digest.of_block(
        BlockWeights({"a": second})
    )
    second.codes[0] ^= 1
    assert digest.of_block(BlockWeights({"a": first})) != digest.of_block(
        BlockWeights({"a": second})
    )
    norm = {"norm.weight": torch.ones(8)}
    assert digest.of_block(BlockWeights({"a": first}, norm)) != digest.of_block(
        BlockWeights({"a": first})
    )
