"""Put quantized weights into a model, and restore it."""

import pytest
import torch

from luq import AWQ, RTN
from luq.calibration.capture import capture_blocks
from luq.decoder.apply import applied, apply_weights
from luq.decoder.blocks import BlockWeights
from luq.decoder.families import FAMILIES
from luq.decoder.packed_linear import PackedLinear
from luq.pipelines.bank import quantize_block
from luq.types import QuantizationError
from tests.luq.replicas import tiny_llama, token_sequences

FAMILY = FAMILIES["llama"]


@pytest.fixture
def model():
    return tiny_llama(blocks=3)


def weights_of(model, quantizer, *indices):
    blocks = model.model.layers
    return {i: quantize_block(blocks[i], FAMILY, quantizer, {}, f"block {i}") for i in indices}


def awq_weights(model):
    first = next(iter(capture_blocks(model, FAMILY, [token_sequences(4, 16)])))
    block = model.model.layers[0]
    return {0: AWQ(3, group=32).quantize_block(block, FAMILY, first.inputs)}


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def unchanged(model, before):
    after = model.state_dict()
    return after.keys() == before.keys() and all(torch.equal(after[n], before[n]) for n in before)


def logits(model):
    with torch.no_grad():
        return model(**token_sequences(1, 8)[0]).logits


@pytest.mark.parametrize("packed", [False, True])
def test_inside_the_context_the_model_computes_with_the_weights_and_is_restored(model, packed):
    before, expected = state(model), logits(model)
    weights = weights_of(model, RTN(3), 1)
    with applied(model, FAMILY, weights, packed=packed):
        first, second = model.model.layers[0].mlp.up_proj, model.model.layers[1].mlp.up_proj
        assert torch.equal(first.weight, before["model.layers.0.mlp.up_proj.weight"])
        if packed:
            assert isinstance(second, PackedLinear)
        else:
            assert torch.equal(second.weight, weights[1].linears["mlp.up_proj"].dequantize())
        assert not torch.equal(logits(model), expected)
    assert unchanged(model, before)
    assert torch.equal(logits(model), expected)


def test_packed_and_dense_weights_give_the_same_answers_with_changed_norms_too(model):
    weights = awq_weights(model)
    assert "input_layernorm.weight" in weights[0].changed
    before = state(model)
    with applied(model, FAMILY, weights):
        dense = logits(model)
    with applied(model, FAMILY, weights, packed=True):
        assert torch.equal(logits(model), dense)
    assert unchanged(model, before)


@pytest.mark.parametrize("packed", [False, True])
def test_an_exception_inside_or_while_entering_restores_the_model(model, packed):
    before = state(model)
    weights = weights_of(model, RTN(4), 0, 2)
    with pytest.raises(KeyError), applied(model, FAMILY, weights, packed=packed):
        raise KeyError
    assert unchanged(model, before)
    linears = weights[2].linears
    weights[2] = BlockWeights({**linears, "mlp.down_proj": linears["mlp.up_proj"]})
    with (
        pytest.raises(QuantizationError, match=r"block 2 mlp\.down_proj: "),
        applied(model, FAMILY, weights, packed=packed),
    ):
        pass
    assert unchanged(model, before)


def test_originals_can_be_restored_later_or_dropped(model):
    before = state(model)
    undo = apply_weights(model, FAMILY, weights_of(model, RTN(2), 0))
    assert not unchanged(model, before)
    undo.close()
    assert unchanged(model, before)
    undo = apply_weights(model, FAMILY, weights_of(model, RTN(2), 0))
    undo.pop_all()
    undo.close()
    assert not unchanged(model, before)
