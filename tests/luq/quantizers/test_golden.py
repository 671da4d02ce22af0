"""Agreement with the published implementations on the layers of tests/data/golden."""

import json

import pytest
import torch
from safetensors.torch import load_file

from luq import GPTQ, PBLLM, BiLLM
from luq.pipelines.synthetic import output_error
from luq.types import LayerStats
from tests.paths import DATA

GOLDEN = DATA / "golden"
CASES = {
    "gptq_4bit_g128_asym": GPTQ(4, scale_dtype="float32"),
    "gptq_3bit_g128_asym": GPTQ(3, scale_dtype="float32"),
    "gptq_2bit_g128_asym": GPTQ(2, scale_dtype="float32"),
    "gptq_4bit_g128_sym": GPTQ(4, symmetric=True, scale_dtype="float32"),
    "gptq_3bit_channel_actorder": GPTQ(3, group=-1, act_order=True, scale_dtype="float32"),
    "billm_hessian": BiLLM("code", scale_dtype="float32"),
    "pbllm_10pct_8bit_hessian": PBLLM(scale_dtype="float32"),
}


def golden_layer(name):
    tensors = load_file(GOLDEN / f"{name}.safetensors")
    inputs = tensors["inputs"].float().flatten(0, 1)
    return (
        tensors,
        tensors["weight"].float(),
        inputs,
        LayerStats(inputs.T @ inputs / len(inputs), len(inputs)),
    )


@pytest.mark.parametrize("layer", ["a", "b"])
@pytest.mark.parametrize("case", CASES)
def test_all_but_a_handful_of_weights_equal_the_reference(layer, case):
    tensors, weight, inputs, stats = golden_layer(layer)
    ours = CASES[case](weight, stats).dequantize()
    live = (inputs != 0).any(dim=0)  # what a dead column holds does not matter and is not compared
    differing = ((ours - tensors[case]).abs() > 1e-3 * weight.abs().max())[:, live]
    assert differing.float().mean() < 1e-3
    reference = json.loads((GOLDEN / f"{layer}.json").read_text())["relative_output_error"][case]
    assert output_error(ours, weight, inputs) == pytest.approx(reference, rel=0.02)


@pytest.mark.parametrize("layer", ["a", "b"])
@pytest.mark.parametrize(
    ("case", "method"),
    [
        ("gptq_4bit_g128_asym", GPTQ(4)),
        ("gptq_2bit_g128_asym", GPTQ(2)),
        ("billm_hessian", BiLLM()),
    ],
)
def test_scales_stored_in_half_precision_cost_less_than_two_per_cent_of_the_error(
    layer, case, method
):
    _, weight, inputs, stats = golden_layer(layer)
    reference = json.loads((GOLDEN / f"{layer}.json").read_text())["relative_output_error"][case]
    assert output_error(method(weight, stats).dequantize(), weight, inputs) == pytest.approx(
        reference, rel=0.02
    )


@pytest.mark.parametrize("layer", ["a", "b"])
def test_the_fixed_split_has_less_error_than_the_released_one_at_the_same_bytes(layer):
    _, weight, inputs, stats = golden_layer(layer)
    code, fixed = BiLLM("code")(weight, stats), BiLLM("fixed")(weight, stats)
    assert output_error(fixed.dequantize(), weight, inputs) < 0.7 * output_error(
        code.dequantize(), weight, inputs
    )
    assert torch.equal(
        torch.tensor([t.numel() for t in code.tensors().values()]).sum(),
        torch.tensor([t.numel() for t in fixed.tensors().values()]).sum(),
    )
