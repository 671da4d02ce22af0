import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from luq.rounding.packing import pack_bits, unpack_bits
from luq.types import QuantizationError


@given(
    st.integers(1, 8).flatmap(
        lambda b: st.tuples(st.just(b), st.lists(st.integers(0, 2**b - 1), max_size=300))
    )
)
def test_unpacking_gives_back_what_was_packed_and_takes_no_byte_more_than_needed(case):
    bits, values = case
    codes = torch.tensor(values, dtype=torch.uint8)
    packed = pack_bits(codes, bits)
    assert packed.numel() == -(-len(values) * bits // 8)
    assert unpack_bits(packed, bits, len(values)).tolist() == values


def test_a_code_that_does_not_fit_is_refused():
    with pytest.raises(QuantizationError, match="codes from 1 to 8 do not fit into 3 bits"):
        pack_bits(torch.tensor([1, 8]), 3)


def test_a_byte_string_of_the_wrong_length_is_refused():
    with pytest.raises(QuantizationError, match="take 2 bytes"):
        unpack_bits(torch.zeros(3, dtype=torch.uint8), 4, 4)
