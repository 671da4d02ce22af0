import pytest
import torch

from luq import GPTQ, RTN
from luq.calibration.capture import capture_blocks
from luq.decoder.families import FAMILIES, block_linears, find_family
from luq.decoder.packed_linear import PackedLinear, pack_model, packed_weights
from luq.pipelines.bank import quantize_block
from luq.pipelines.synthetic import quantized, synthetic_layer
from luq.types import QuantizationError, stored_bytes
from tests.luq.cases import METHODS
from tests.luq.replicas import tiny_llama, token_sequences

FAMILY = FAMILIES["llama"]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_r18_a_packed_linear_computes_what_the_dense_one_computes_bit_for_bit(name, dtype):
    weight, inputs = synthetic_layer(out=24, inner=200, tokens=600)
    packed, _ = quantized(METHODS[name], weight, inputs)
    dense = torch.nn.Linear(200, 24).requires_grad_(False).to(dtype)
    dense.weight.data = packed.dequantize().to(dtype)
    assert torch.equal(PackedLinear(packed, dense.bias)(inputs.to(dtype)), dense(inputs.to(dtype)))


def test_a_packed_model_holds_the_packed_bytes_and_no_dense_weight():
    model = tiny_llama()
    weights = {
        i: quantize_block(block, FAMILY, RTN(4, group=32), {}, "")
        for i, block in enumerate(model.model.layers)
    }
    expected = sum(stored_bytes(w) for entry in weights.values() for w in entry.linears.values())
    others = sum(
        p.nbytes
        for name, p in model.named_parameters()
        if not any(name.endswith(f"{n}.weight") for n in FAMILY.linears)
    )
    pack_model(model, FAMILY, weights)
    packed = packed_weights(model, FAMILY)
    assert (
        sum(
            t.nbytes
            for entry in packed.values()
            for w in entry.linears.values()
            for t in w.tensors().values()
        )
        == expected
    )
    assert sum(p.nbytes for p in model.parameters()) == others
    assert find_family(model) is FAMILY


def test_changing_the_models_type_leaves_what_is_stored_alone():
    packed = RTN(4)(torch.randn(8, 128), None)
    layer = PackedLinear(packed).to(torch.bfloat16)
    assert layer.packed.scale.dtype == torch.float16
    assert torch.equal(layer.packed.dequantize(), packed.dequantize())


def test_a_packed_block_cannot_be_quantized_again_and_foreign_weights_are_refused():
    model = tiny_llama()
    captures = list(capture_blocks(model, FAMILY, [token_sequences(3, 16)]))
    weights = quantize_block(
        model.model.layers[0], FAMILY, GPTQ(4, group=32), captures[0].stats[0], "block 0"
    )
    pack_model(model, FAMILY, {0: weights})
    with pytest.raises(
        QuantizationError, match="it is quantized already; start from the full-precision model"
    ):
        block_linears(model.model.layers[0], FAMILY)
    weights.linears["mlp.down_proj"] = weights.linears["mlp.up_proj"]
    with pytest.raises(QuantizationError, match=r"block 1 mlp\.down_proj: packed are \(128, 64\)"):
        pack_model(model, FAMILY, {1: weights})
