"""A checkpoint that does not fit its configuration exactly is refused by name."""

import json
import shutil
import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.config.schema import CalibrationConfig, MethodConfig
from harness.errors import ConfigError
from harness.models.fit import unread_tensors
from harness.models.folder import INDEX, WEIGHTS
from harness.models.load import load_model
from harness.store import digest
from harness.store.store import Store
from harness.store.tensors import MANIFEST, TENSORS
from harness.variants.calibration_run import CalibrationRun
from harness.variants.export import export_model
from harness.variants.variant import make_variant
from tests import replicas

BLOCK = "model.layers.2."
LINEAR, NORM = f"{BLOCK}mlp.up_proj.weight", f"{BLOCK}input_layernorm.weight"


def opened(folder, *, streamed=False):
    load_model.cache_clear()
    try:
        return load_model("replica", str(folder), "float32", "cpu", streamed=streamed)
    finally:
        load_model.cache_clear()


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """(a folder without weights, its weights)."""
    folder = replicas.qwen2_text(tmp_path_factory.mktemp("original") / "model")
    tensors = {}
    for path in folder.glob("*.safetensors"):
        tensors |= load_file(path)
        path.unlink()
    (folder / INDEX).unlink()
    return folder, tensors


@pytest.fixture(scope="module")
def packed(original, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed")
    dense = shutil.copytree(original[0], folder / "dense")
    save_file(original[1], dense / WEIGHTS, metadata={"format": "pt"})
    loaded = opened(dense)
    calibration = CalibrationConfig(alpha=0.0, tokens=256)
    run = CalibrationRun(loaded, calibration, Store(folder / "store"))
    variant = make_variant(run, MethodConfig(name="rtn4", high={"method": "rtn", "bits": 4}))
    export_model(folder / "packed", loaded, variant, "rtn4")
    return folder / "packed"


def without(*names):
    return lambda tensors: {name: t for name, t in tensors.items() if name not in names}


def plus(name, like):
    return lambda tensors: tensors | {name: tensors[like].clone()}


def cut(name):
    return lambda tensors: tensors | {name: tensors[name][:8].clone()}


CHANGES = {
    "a linear": (without(LINEAR), {}, rf"1 missing \({LINEAR}\)"),
    "a norm": (without(NORM), {}, rf"1 missing \({NORM}\)"),
    "the head": (without("lm_head.weight"), {}, r"1 missing \(lm_head\.weight\)"),
    "the vocabulary": (
        cut("model.embed_tokens.weight"),
        {},
        r"1 of .*embed_tokens\.weight is \[8, 64\]",
    ),
    "a smaller linear": (
        cut(LINEAR),
        {},
        rf"1 of .*{LINEAR} is \[8, 64\] and should be \[96, 64\]",
    ),
    "one more linear": (
        plus(f"{BLOCK}mlp.side_proj.weight", LINEAR),
        {},
        rf"1 unexpected \({BLOCK}mlp\.side_proj\.weight\)",
    ),
    "too few blocks": (
        dict,
        {"num_hidden_layers": 5},
        r"24 missing \(model\.layers\.3.*, \.\.\.\)",
    ),
    "too many blocks": (dict, {"num_hidden_layers": 2}, r"12 unexpected \(model\.layers\.2\."),
    "another width": (dict, {"intermediate_size": 128}, r"9 of another shape \(.*should be \[128"),
}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("name", CHANGES)
def test_r31_weights_that_do_not_fit_are_refused_by_name_and_counted(
    original, tmp_path, name, streamed
):
    change, settings, said = CHANGES[name]
    folder = shutil.copytree(original[0], tmp_path / "model")
    save_file(change(original[1]), folder / WEIGHTS, metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text()) | settings
    if "num_hidden_layers" in settings:
        config["layer_types"] = ["full_attention"] * config["num_hidden_layers"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=f"do not fit its configuration: {said}") as caught:
        opened(folder, streamed=streamed)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("streamed", [False, True])
def test_what_the_class_of_a_model_ties_or_ignores_is_not_missing(original, tmp_path, streamed):
    folder = replicas.qwen2_text(tmp_path / "tied", tie_word_embeddings=True)
    assert not any("lm_head" in path.read_text() for path in folder.glob("*.index.json"))
    model = opened(folder, streamed=streamed).model
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    plain = shutil.copytree(original[0], tmp_path / "old")
    old = {f"{BLOCK}self_attn.rotary_emb.inv_freq": torch.ones(8)}  # as old checkpoints have it
    save_file(original[1] | old, plain / WEIGHTS, metadata={"format": "pt"})
    opened(plain, streamed=streamed)


def test_r31_blocks_of_a_gguf_file_that_its_configuration_does_not_count_are_named(monkeypatch):
    tensors = [SimpleNamespace(name=f"blk.{i}.ffn_up.weight") for i in (0, 1, 2, 10)]
    tensors.append(SimpleNamespace(name="output_norm.weight"))
    library = SimpleNamespace(GGUFReader=lambda _file: SimpleNamespace(tensors=tensors))
    monkeypatch.setitem(sys.modules, "gguf", library)
    assert unread_tensors("x.gguf", 3) == {"blk.10.ffn_up.weight"}
    assert not unread_tensors("x.gguf", 11)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without(NORM), rf"1 missing \({NORM}\)"),
        (plus("model.other.weight", NORM), r"1 unexpected \(model\.other\.weight\)"),
        (
            cut("model.embed_tokens.weight"),
            r"1 of another shape \(model\.embed_tokens\.weight is \[8, 64\]",
        ),
    ],
)
def test_r31_the_tensors_of_an_export_fit_its_configuration(packed, tmp_path, change, said):
    folder = shutil.copytree(packed, tmp_path / "model")
    rewrite(folder, change(load_file(folder / TENSORS)), lambda blocks: blocks)
    with pytest.raises(ConfigError, match=f"do not fit its configuration: {said}"):
        opened(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda blocks: blocks | {"7": blocks["2"]}, r"1 unexpected \(model\.layers\.7\)"),
        (lambda blocks: blocks, r"\d+ unexpected \(packed\.7\."),
    ],
)
def test_r31_the_blocks_of_an_export_are_those_of_its_configuration(packed, tmp_path, change, said):
    folder = shutil.copytree(packed, tmp_path / "model")
    tensors = load_file(folder / TENSORS)
    more = {
        name.replace("packed.2.", "packed.7."): tensor.clone()
        for name, tensor in tensors.items()
        if name.startswith("packed.2.")
    }
    rewrite(folder, tensors | more, change)
    with pytest.raises(ConfigError, match=said):
        opened(folder)


def rewrite(folder, tensors, change):
    """Write tensors and blocks of an export as if they had been exported so."""
    save_file(tensors, folder / TENSORS)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["blocks"] = change(manifest["blocks"])
    manifest["sha256"] = {name: digest.of_tensor(tensor) for name, tensor in tensors.items()}
    (folder / MANIFEST).write_text(json.dumps(manifest))
