"""Sizes that are reckoned without weights are those that the real thing then stores."""

from dataclasses import dataclass

import pytest
import torch

from harness.config.compose import compose
from harness.config.schema import CalibrationConfig, MethodConfig
from harness.errors import ConfigError
from harness.models.load import load_model
from harness.store.store import Store
from harness.variants.calibration_run import CalibrationRun
from harness.variants.sizes import language_model_bytes, quantized_size, sizes_of, variant_size
from harness.variants.variant import make_variant
from luq import RTN
from luq.quantizers.registry import build_quantizer
from luq.types import LayerStats, stored_bytes

SEVEN_BILLION = {
    "llava15_7b": ("llava-hf/llava-1.5-7b-hf", 7_063_427_072),
    "qwen25vl_7b": ("Qwen/Qwen2.5-VL-7B-Instruct", 8_292_166_656),
}
METHODS = {
    "rtn3": {"method": "rtn", "bits": 3},
    "gptq4": {"method": "gptq", "bits": 4},
    "awq2": {"method": "awq", "bits": 2},
    "billm": {"method": "billm"},
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("k", [0, 2])
def test_r18_the_bytes_of_a_plan_are_those_that_the_variant_stores(tmp_path, narrow_model, name, k):
    path = str(narrow_model)
    config = compose([f"method={name}", f"model.path={path}"])
    if k:
        config.method = MethodConfig(
            name="mixed", low=METHODS[name], high={"method": "gptq", "bits": 4}, k=k, order="depth"
        )
    planned = variant_size(config, sizes_of(path, None))
    loaded = load_model("narrow", path, "float32", "cpu")
    run = CalibrationRun(loaded, CalibrationConfig(alpha=0, tokens=512), Store(tmp_path / "runs"))
    real = make_variant(run, config.method)
    assert planned.decoder == real.stored_bytes
    assert planned.stored_bits == pytest.approx(real.stored_bits)
    # the rest of the language model: 16 bits in a plan, in the embedded model what holds its
    # float32 exactly
    rest = language_model_bytes(loaded, real) - real.stored_bytes
    assert rest in (planned.text - planned.decoder, 2 * (planned.text - planned.decoder))


@pytest.mark.parametrize("name", METHODS)
def test_wide_layers_are_extrapolated_exactly(name):
    quantizer = build_quantizer(
        METHODS[name]["method"], {k: v for k, v in METHODS[name].items() if k != "method"}
    )
    out, inner = 96, 2304
    packed = quantizer(torch.randn(out, inner) * 0.02, LayerStats(torch.eye(inner), inner))
    assert quantized_size(quantizer, ((out, inner),))[1] == stored_bytes(packed)


@dataclass(frozen=True)
class Careless(RTN):
    """Of another package: changes torch's default type, and fails for narrow layers."""

    def __call__(self, weight, stats):
        torch.set_default_dtype(torch.float64)
        if weight.shape[1] < 100:
            return weight.no_such_attribute
        return super().__call__(weight, stats)


def test_r33_sizing_a_quantizer_of_another_package_changes_no_setting():
    assert quantized_size(Careless(), ((64, 128),)) == quantized_size(RTN(), ((64, 128),))
    assert torch.get_default_dtype() is torch.float32


def test_r33_a_quantizer_that_cannot_be_sized_is_named_with_the_layer_and_the_cause():
    with pytest.raises(
        ConfigError, match=r"rtn cannot be sized: .*\(64, 64\): rtn raised AttributeError: .* line"
    ):
        quantized_size(Careless(), ((64, 64),))


def test_the_sizes_of_both_models_are_the_published_ones():
    sizes = {name: sizes_of(path, None) for name, (path, _) in SEVEN_BILLION.items()}
    assert {name: size.model for name, size in sizes.items()} == {
        name: count for name, (_, count) in SEVEN_BILLION.items()
    }
    assert sizes["qwen25vl_7b"].block == 233_046_016
    assert sizes["llava15_7b"].decoder == 6_476_005_376
    assert (sizes["llava15_7b"].blocks, sizes["qwen25vl_7b"].blocks) == (32, 28)
