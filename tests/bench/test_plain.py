"""The loops that `make bench` measures against are what is published: they give our results."""

import pytest
import torch

from bench.__main__ import layer
from bench.plain import plain_billm, plain_gptq
from luq.quantizers.registry import GPTQ, BiLLM
from luq.types import LayerStats


@pytest.mark.parametrize(
    ("method", "plain"),
    [(GPTQ(4), lambda w, h: plain_gptq(w, h, 4)), (BiLLM(scale_dtype="float32"), plain_billm)],
)
def test_the_benchmarks_two_sides_give_the_same_weights(method, plain):
    weight, hessian = layer(256, "cpu")
    ours, theirs = method(weight, LayerStats(hessian, 1)).dequantize(), plain(weight, hessian)
    assert ((ours - theirs).abs() > 1e-3 * weight.std()).float().mean() < 0.01
    errors = [float((((q - weight) @ hessian) * (q - weight)).sum()) for q in (ours, theirs)]
    assert errors[0] == pytest.approx(errors[1], rel=0.01)
    assert torch.isfinite(ours).all()
