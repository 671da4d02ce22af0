"""The same quantizers on a GPU."""

import pytest
import torch

from luq.decoder.blocks import needs_inputs
from luq.decoder.packed_linear import PackedLinear
from luq.pipelines.synthetic import output_error, quantized, stats_of, synthetic_layer
from luq.types import LayerStats
from tests.luq.cases import METHODS

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize("name", METHODS)
def test_a_gpu_gives_the_output_error_of_the_cpu(name):
    weight, inputs = synthetic_layer(out=48, inner=320, tokens=1024, dead=3)
    method = METHODS[name]
    expected = output_error(quantized(method, weight, inputs)[1], weight, inputs)
    if needs_inputs(method):
        packed, value = quantized(method, weight.cuda(), inputs.cuda())
        value = value.cpu()
    else:
        packed = method(weight.cuda(), LayerStats(stats_of(inputs).hessian.cuda(), len(inputs)))
        value = packed.dequantize()
    assert output_error(value.cpu(), weight, inputs) == pytest.approx(expected, rel=0.02, abs=1e-12)
    assert all(tensor.device.type == "cpu" for tensor in packed.tensors().values())


@pytest.mark.parametrize("name", METHODS)
def test_a_packed_linear_moves_to_the_gpu_with_its_model(name):
    weight, inputs = synthetic_layer(out=24, inner=200, tokens=600)
    packed, _ = quantized(METHODS[name], weight, inputs)
    layer = PackedLinear(packed)
    expected = layer(inputs)
    torch.testing.assert_close(layer.cuda()(inputs.cuda()).cpu(), expected, rtol=1e-3, atol=1e-4)
