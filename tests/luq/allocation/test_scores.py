import pytest
import torch

from luq import GPTQ, RTN
from luq.allocation.scores import block_influence, layer_error
from luq.calibration.capture import BlockCapture, capture_blocks
from luq.decoder.blocks import BlockInput, BlockWeights
from luq.decoder.families import FAMILIES
from luq.pipelines.bank import quantize_block
from luq.types import QuantizationError
from tests.luq.replicas import tiny_llama, token_sequences

FAMILY = FAMILIES["llama"]


def capture_of(state, output):
    return BlockCapture(0, [], [BlockInput(state[None])], [output])


def test_a_block_that_only_scales_has_no_influence_and_one_that_turns_round_has_two():
    state = torch.randn(7, 16)
    assert block_influence(capture_of(state, 3 * state)) == pytest.approx(0, abs=1e-6)
    assert block_influence(capture_of(state, -state)) == pytest.approx(2, abs=1e-6)
    left, right = torch.zeros(5, 4), torch.zeros(5, 4)
    left[:, 0], right[:, 1] = 1.0, 2.0
    assert block_influence(capture_of(left, right)) == pytest.approx(1)


def test_layer_error_is_the_relative_change_of_the_outputs_and_falls_with_more_bits():
    model = tiny_llama(blocks=1)
    block = model.model.layers[0]
    (capture,) = capture_blocks(model, FAMILY, [token_sequences(6, 32)])
    errors = []
    for bits in (2, 3, 4, 8):
        weights = quantize_block(block, FAMILY, GPTQ(bits, group=32), capture.stats[0], "block 0")
        errors.append(layer_error(block, FAMILY, weights, capture.stats[0]))
    assert errors == sorted(errors, reverse=True)
    assert 0 < errors[-1] < errors[0] < 1
    same = BlockWeights(
        {
            name: RTN(8, group=1, scale_dtype="float32")(torch.zeros(2, 2), None)
            for name in FAMILY.linears
        }
    )
    with pytest.raises(RuntimeError):
        layer_error(block, FAMILY, same, capture.stats[0])


def test_layer_error_refuses_methods_that_move_scales():
    model = tiny_llama(blocks=1)
    with pytest.raises(QuantizationError, match="use another order"):
        layer_error(
            model.model.layers[0],
            FAMILY,
            BlockWeights({}, {"input_layernorm.weight": torch.ones(64)}),
            {},
        )
