import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from harness.errors import ConfigError
from harness.models import EMBEDDED, HASHES, WEIGHTS, load_model, write_hashes


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


def test_a_flipped_byte_in_the_weights_is_refused_and_the_tensor_named(copy):
    data = bytearray((copy / WEIGHTS).read_bytes())
    data[-2] ^= 0x40
    (copy / WEIGHTS).write_bytes(data)
    with pytest.raises(ConfigError, match=r"model\.safetensors is damaged: tensor \S+ does not have the SHA-256.*Restore"):
        load_model("x", str(copy), "float32", "cpu")


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"has no config\.json"):
        load_model("x", str(tmp_path), "float32", "cpu")


def test_a_name_that_is_neither_a_folder_nor_reachable_is_refused():
    with pytest.raises(ConfigError, match=r"cannot load model 'x' from 'nobody/nothing'.*model\.path=FOLDER"):
        load_model("x", "nobody/nothing", "float32", "cpu")


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
