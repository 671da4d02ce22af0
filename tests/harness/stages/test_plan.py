"""A plan made without weights says what the real thing then stores."""

import pytest
import torch

from harness.cli.main import compose
from harness.config.schema import MethodConfig
from harness.stages.plan import quantized_size, sizes_of, variant_of
from harness.stages.search import language_model_bytes
from harness.variants.calibration_run import CalibrationRun
from harness.variants.variant import make_variant
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
def test_r18_the_bytes_of_a_plan_are_those_that_the_variant_stores(
    run, tmp_path, narrow_model, name, k
):
    from harness.config.schema import CalibrationConfig
    from harness.models.load import load_model
    from harness.store.store import Store

    path = str(narrow_model)
    config = compose([f"method={name}", f"model.path={path}"])
    if k:
        config.method = MethodConfig(
            name="mixed", low=METHODS[name], high={"method": "gptq", "bits": 4}, k=k, order="depth"
        )
    planned = variant_of(config, sizes_of(path, None))
    loaded = load_model("narrow", path, "float32", "cpu")
    run = CalibrationRun(
        loaded, CalibrationConfig(alpha=0, tokens=512), Store(tmp_path / "runs")
    )
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


def test_the_sizes_of_both_models_are_the_published_ones():
    sizes = {name: sizes_of(path, None) for name, (path, _) in SEVEN_BILLION.items()}
    assert {name: size.model for name, size in sizes.items()} == {
        name: count for name, (_, count) in SEVEN_BILLION.items()
    }
    assert sizes["qwen25vl_7b"].block == 233_046_016
    assert sizes["llava15_7b"].decoder == 6_476_005_376
    assert (sizes["llava15_7b"].blocks, sizes["qwen25vl_7b"].blocks) == (32, 28)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (
            "llava15_7b",
            (
                "2.54 bits and 40% smaller than 4 bits. From its own 1.08 and 4 bits: 2.540 bits,"
                " 36.5% smaller. As stored: 3.578 bits, 13.9% smaller than GPTQ-4 and 13.7% larger"
                " than GPTQ-3."
            ),
        ),
        (
            "qwen25vl_7b",
            (
                "2.75 bits and 31% smaller than 4 bits. From its own 1.08 and 4 bits: 2.749 bits,"
                " 31.3% smaller. As stored: 3.661 bits, 11.9% smaller than GPTQ-4 and 16.3% larger"
                " than GPTQ-3."
            ),
        ),
    ],
)
def test_both_models_are_planned_without_weights_or_network_and_beside_the_papers_sizes(
    run, model, said
):
    code, text = run(
        "stage=plan",
        f"model={model}",
        "suite=paper",
        "+sweep=table1",
        "limit=null",
        "plan.questions_per_second=10",
    )
    assert code == 0, text
    assert said in text
    assert "81 cells with 2,308,356 questions" in text
    assert "asking 64.1 h at 10 questions a second" in text
    for variant in ("fp", "gptq4", "awq3", "billm", "luq k="):
        assert f"\n {variant}" in text
    assert "16.000" in text
    assert "4.156" in text


def test_a_plan_needs_only_the_configuration_of_a_folder(run, tmp_path, narrow_model):
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.json").write_bytes((narrow_model / "config.json").read_bytes())
    code, text = run("stage=plan", f"model.path={tmp_path / 'bare'}", "method=luq", "method.k=all")
    assert code == 0, text
    assert all(f"luq k={k}" in text for k in range(1, 5))
    assert not list((tmp_path / "runs").glob("bank/*"))


def test_more_low_blocks_than_there_are_is_refused_before_anything_is_paid(run):
    code, text = run("stage=plan", "model=qwen25vl_7b", "suite=paper", "method=luq", "method.k=29")
    assert code == 2
    assert "method.k is 29, qwen25vl_7b has 28 decoder blocks" in text


def test_an_unknown_model_of_the_hub_says_that_its_configuration_cannot_be_read(run):
    code, text = run("stage=plan", "model=qwen25vl_7b", "model.path=some/other", "method=fp")
    assert code == 2
    assert "cannot read the configuration of model.path=some/other" in text
