"""The plain language model that workers read."""

import dataclasses

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness.config.schema import CalibrationConfig
from harness.data.sequences import collect
from harness.variants.external.plain_model import write_plain_model
from luq.calibration.capture import capture_blocks
from luq.decoder.families import FAMILIES
from luq.types import QuantizationError
from tests.luq.replicas import tiny_llama


def test_the_plain_model_computes_what_the_decoder_computes_on_pictures_too(embedded, tmp_path):
    """Its vocabulary is the calibration data: the same hidden states come out, also for image
    tokens.
    """
    sequences = collect(embedded, CalibrationConfig(sequence=64, tokens=200, alpha=0.5)).sequences
    write_plain_model(embedded, sequences, tmp_path)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32).eval()
    *_, last = capture_blocks(embedded.model, embedded.family, [sequences])
    first = 0
    for expected in last.outputs:
        ids = torch.arange(first, first + len(expected))[None]
        first += len(expected)
        hidden: list[torch.Tensor] = []
        handle = plain.model.layers[-1].register_forward_hook(
            lambda _m, _a, out, hidden=hidden: hidden.append(out)
        )
        plain(input_ids=ids)
        handle.remove()
        torch.testing.assert_close(hidden[0][0], expected, rtol=1e-4, atol=1e-4)
    assert AutoTokenizer.from_pretrained(tmp_path / "model")("5 7").input_ids == [5, 7]


def test_a_decoder_that_is_no_plain_language_model_is_refused(embedded, tmp_path):
    other = dataclasses.replace(embedded, model=tiny_llama(), family=FAMILIES["qwen2_5_vl"])
    with pytest.raises(QuantizationError, match="the decoder of qwen2_5_vl cannot be written"):
        write_plain_model(other, [], tmp_path)
