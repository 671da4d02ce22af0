"""The plain loops that `python -m bench` compares with give our results."""

import pytest
import torch

from bench.plain import plain_billm, plain_gptq
from bench.quantizers import output_error, synthetic_linear
from luq import GPTQ, BiLLM
from luq.types import LayerStats


@pytest.mark.parametrize(
    ("method", "plain"),
    [(GPTQ(4), lambda w, h: plain_gptq(w, h, 4)), (BiLLM(scale_dtype="float32"), plain_billm)],
)
def test_the_benchmarks_two_sides_give_the_same_weights(method, plain):
    weight, hessian = synthetic_linear(256, "cpu")
    ours, published = method(weight, LayerStats(hessian, 1)).dequantize(), plain(weight, hessian)
    assert ((ours - published).abs() > 1e-3 * weight.std()).float().mean() < 0.01
    errors = [output_error(result, weight, hessian) for result in (ours, published)]
    assert errors[0] == pytest.approx(errors[1], rel=0.01)
    assert torch.isfinite(ours).all()
