"""Checks of calibration data."""

from collections import UserDict

import pytest
import torch

from luq.pipelines.sequences import checked_sequences
from luq.types import QuantizationError

CPU = torch.device("cpu")
IDS = torch.arange(5)[None]


def test_mappings_and_token_ids_become_keyword_arguments():
    mapping = UserDict(input_ids=IDS, attention_mask=torch.ones(1, 5), grid=[1, 2])
    sequences = checked_sequences([mapping, IDS, IDS[0]], CPU)
    assert sequences[0]["grid"] == [1, 2]
    assert [sorted(sequence) for sequence in sequences] == [
        ["attention_mask", "grid", "input_ids"],
        ["input_ids"],
        ["input_ids"],
    ]
    assert all(torch.equal(sequence["input_ids"], IDS) for sequence in sequences)


def test_tensors_are_moved_to_the_device():
    (sequence,) = checked_sequences([{"input_ids": IDS, "pixels": torch.ones(2)}], "meta")
    assert all(tensor.is_meta for tensor in sequence.values())


@pytest.mark.parametrize(
    ("calibration", "reason"),
    [
        ([], "calibration is empty; give what"),
        ({"input_ids": IDS}, r"calibration is a single dict; give a list of .* \[inputs\]"),
        ("some text", "calibration is a single str"),
        (["some text"], "calibration sequence 0 is a str; give what"),
        ([IDS, {"ids": IDS}], r"sequence 1 has no batch of token ids in `input_ids`, only \['ids'"),
        ([{"input_ids": [1, 2, 3]}], "has no batch of token ids"),
        ([{"input_ids": IDS[0]}], "has no batch of token ids"),
        ([torch.ones(4, 5).long()], "is a batch of 4 sequences"),
        ([torch.ones(1, 1, 5)], "sequence 0 is a Tensor"),
        ([IDS[:, :0]], "has no tokens"),
        (
            [{"input_ids": IDS, "attention_mask": torch.tensor([[0, 0, 1, 1, 1]])}],
            "is padded: 2 of its 5 tokens are masked",
        ),
    ],
)
def test_other_data_is_refused_with_what_to_do(calibration, reason):
    with pytest.raises(QuantizationError, match=reason):
        checked_sequences(calibration, CPU)
