"""What a worker returned is checked before it is used."""

import json

import pytest
import torch
from safetensors.torch import save_file

from harness.variants.external.plain_model import PREFIX
from harness.variants.external.result import read_result
from luq.types import QuantizationError, stored_bits


@pytest.fixture
def result(narrow, tmp_path):
    """(weights, stored bytes) of a right answer, and a function that reads them."""
    weights, stored = {}, {}
    for index, block in enumerate(narrow.blocks):
        for name in narrow.family.linears:
            weight = block.get_submodule(name).weight.detach().half().float()
            weights[f"{PREFIX}.{index}.{name}.weight"] = weight
            stored[f"{PREFIX}.{index}.{name}"] = weight.numel() // 2

    def read(tokens=10):
        save_file(weights, tmp_path / "weights.safetensors")
        report = {"library": "fake 1.0", "tokens": tokens, "stored_bytes": stored}
        (tmp_path / "report.json").write_text(json.dumps(report))
        return read_result(tmp_path, 4, narrow)

    return weights, stored, read


def test_every_block_has_its_linears_with_the_bytes_that_the_library_stores(result, narrow):
    weights, _, read = result
    blocks = read()
    assert list(blocks) == list(range(len(narrow.blocks)))
    packed = blocks[2].linears["mlp.up_proj"]
    assert torch.equal(packed.dequantize(), weights[f"{PREFIX}.2.mlp.up_proj.weight"])
    assert (stored_bits(packed), packed.paper_bits) == (4, 4)
    assert not any(block.changed for block in blocks.values())


def test_parameters_with_other_values_are_changed_ones(result, narrow):
    weights, _, read = result
    norm = narrow.blocks[1].input_layernorm.weight.detach()
    weights[f"{PREFIX}.1.input_layernorm.weight"] = norm * 2
    weights[f"{PREFIX}.2.input_layernorm.weight"] = narrow.blocks[2].input_layernorm.weight.data
    blocks = read()
    assert torch.equal(blocks[1].changed["input_layernorm.weight"], norm * 2)
    assert not blocks[2].changed


LINEAR = f"{PREFIX}.0.mlp.up_proj"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda w, _: w.pop(f"{LINEAR}.weight"), "returned no weight for"),
        (lambda _, s: s.pop(LINEAR), "returned no stored bytes for"),
        (lambda _, s: s.update({LINEAR: 10**9}), "takes 1000000000 bytes, which cannot be"),
        (lambda _, s: s.update({LINEAR: 1}), "takes 1 bytes for .*, less than half of the 4 bits"),
        (lambda w, _: w[f"{LINEAR}.weight"].fill_(torch.inf), "infinite"),
        (lambda w, _: w.update(other=torch.ones(1)), "returned other, which belongs to no"),
        (
            lambda w, _: w.update({f"{PREFIX}.3.mlp.bias": torch.ones(1)}),
            r"returned model\.layers\.3\.mlp\.bias, which the model does not have",
        ),
    ],
)
def test_a_wrong_result_is_refused_by_what_is_wrong(result, damage, message):
    weights, stored, read = result
    damage(weights, stored)
    with pytest.raises(QuantizationError, match=message):
        read()


def test_a_worker_that_used_no_calibration_is_refused(result):
    with pytest.raises(QuantizationError, match="used 0 calibration tokens"):
        result[2](tokens=0)


def test_weights_as_they_were_are_refused(result, narrow):
    weights, _, read = result
    for index, block in enumerate(narrow.blocks):
        for name in narrow.family.linears:
            weight = block.get_submodule(name).weight.detach().clone()
            weights[f"{PREFIX}.{index}.{name}.weight"] = weight
    with pytest.raises(QuantizationError, match="as they were: none is quantized"):
        read()
