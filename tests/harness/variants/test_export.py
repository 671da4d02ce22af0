import json
import subprocess
import sys

import pytest
import torch

from harness.config.schema import MethodConfig
from harness.errors import ConfigError
from harness.models.load import load_model
from harness.variants.calibration_run import CalibrationRun
from harness.variants.export import export_model
from harness.variants.variant import make_variant
from luq.decoder.apply import applied

METHODS = {
    "luq": MethodConfig(
        name="luq", low={"method": "billm"}, high={"method": "gptq", "bits": 4}, k=3, order="depth"
    ),
    "awq": MethodConfig(name="awq3", high={"method": "awq", "bits": 3}),
    "mixed": MethodConfig(
        name="mixed",
        low=None,
        high={"method": "sage", "clustering": "kmeans", "groups": 4, "sample": 400},
        k=0,
    ),
}


@pytest.mark.parametrize("name", METHODS)
def test_the_exported_model_computes_what_the_variant_computes(name, narrow_run, narrow, tmp_path):
    variant = make_variant(narrow_run, METHODS[name])
    size = export_model(tmp_path / "model", narrow, variant, name)
    assert size < (tmp_path / "model" / "tensors.safetensors").stat().st_size + 200_000
    loaded = load_model.__wrapped__("packed", str(tmp_path / "model"), "float32", "cpu")
    tokens = {"input_ids": torch.arange(4, 36)[None]}
    with applied(narrow.model, narrow.family, variant.weights), torch.inference_mode():
        expected = narrow.model(**tokens).logits
    with torch.inference_mode():
        assert torch.equal(loaded.model(**tokens).logits, expected)
    exported = CalibrationRun(loaded, narrow_run.calibration, narrow_run.store)
    again = make_variant(exported, MethodConfig(name="fp"))
    assert (again.stored_bytes, again.stored_bits, again.paper_bits) == (
        variant.stored_bytes,
        variant.stored_bits,
        variant.paper_bits,
    )
    with pytest.raises(ConfigError, match="packed already"):
        make_variant(exported, METHODS["luq"])


def test_r8_a_flipped_byte_is_refused_and_the_tensor_named(narrow_run, narrow, tmp_path):
    export_model(tmp_path / "model", narrow, make_variant(narrow_run, METHODS["luq"]), "luq")
    file = tmp_path / "model" / "tensors.safetensors"
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(data)
    with pytest.raises(
        ConfigError, match=r"is damaged: tensor \S+ does not have the SHA-256 of its manifest"
    ):
        load_model.__wrapped__("packed", str(tmp_path / "model"), "float32", "cpu")


def test_an_export_is_written_once_and_never_over_something_else(narrow_run, narrow, tmp_path):
    variant = make_variant(narrow_run, METHODS["luq"])
    folder = tmp_path / "model"
    export_model(folder, narrow, variant, "luq")
    before = (folder / "manifest.json").stat().st_mtime_ns
    export_model(folder, narrow, variant, "luq")
    assert (folder / "manifest.json").stat().st_mtime_ns == before
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    with pytest.raises(
        ConfigError, match=r"does not hold this variant; choose another folder with out=PATH"
    ):
        export_model(folder, narrow, make_variant(narrow_run, METHODS["awq"]), "awq3")
    with pytest.raises(ConfigError, match="packs nothing"):
        export_model(
            tmp_path / "fp", narrow, make_variant(narrow_run, MethodConfig(name="fp")), "fp"
        )


def test_the_command_exports_and_a_new_process_gives_the_same_answers(tmp_path, run):
    common = [
        "suite=mini_mathvista",
        "limit=12",
        f"store={tmp_path / 'runs'}",
        "calibration.tokens=600",
        "quiet=true",
    ]
    method = ["method=gptq3"]

    def answers():
        found = [
            json.loads(path.read_text())["answers"]
            for path in (tmp_path / "runs").glob("results/*/result.json")
        ]
        return [[(a["question_id"], a["response"]) for a in result] for result in found]

    assert run(*method, *common)[0] == 0
    folder = tmp_path / "packed"
    assert run(*method, *common, "stage=export", "format=packed", f"out={folder}")[0] == 0
    assert json.loads((folder / "manifest.json").read_text())["sha256"]
    (before,) = answers()
    other = [
        sys.executable,
        "-m",
        "harness",
        "method=fp",
        "model.name=packed",
        f"model.path={folder}",
        *common,
    ]
    subprocess.run(other, capture_output=True, text=True, check=True)
    assert answers() == [before, before]
