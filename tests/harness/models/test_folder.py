"""What is read of a model folder is what its identity covers, and what is not safetensors, or leads
out of the folder, is refused by name.
"""

import ctypes
import json
import os
import shutil
import struct
from contextlib import contextmanager

import pytest
import torch
from transformers.utils import CHAT_TEMPLATE_DIR

from harness.errors import ConfigError
from harness.models.folder import INDEX, SUFFIXES, TEMPLATES, WEIGHTS, model_files
from harness.models.load import load_model
from harness.models.source import find_model
from tests import replicas

BUILDERS = {"llava": replicas.llava, "qwen2_5_vl": replicas.qwen_vl, "qwen2": replicas.qwen2_text}
TEXT = "model-00001-of-00003.safetensors"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return replicas.qwen2_text(tmp_path_factory.mktemp("original") / "model")


@pytest.fixture
def folder(original, tmp_path):
    return shutil.copytree(original, tmp_path / "model")


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@contextmanager
def opened_below(root):
    """Collect the files below a folder that this process opens, by whatever library."""
    libc, found = ctypes.CDLL(None, use_errno=True), set()
    watch = libc.inotify_init1(os.O_NONBLOCK)
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
    names = {libc.inotify_add_watch(watch, bytes(folder), 0x20): folder for folder in folders}
    assert -1 not in names
    try:
        yield found
        events = os.read(watch, 1 << 20)
        while events:
            number, mask, _, length = struct.unpack("iIII", events[:16])
            name = events[16 : 16 + length].rstrip(b"\0").decode()
            if name and not mask & 0x40000000:
                found.add(str((names[number] / name).relative_to(root)))
            events = events[16 + length :]
    finally:
        os.close(watch)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("family", BUILDERS)
def test_r30_every_file_that_is_read_of_a_folder_is_part_of_its_identity(
    tmp_path, family, streamed
):
    folder = BUILDERS[family](tmp_path / "model")
    for name in (TEMPLATES, "original", "custom_generate"):
        (folder / name).mkdir()
    (folder / TEMPLATES / "tool_use.jinja").write_text("{{ messages }}")
    for name in ("pytorch_model.bin", "modeling.py", "README.md", "custom_generate/generate.py"):
        (folder / name).write_text("raise SystemExit")
    for name in ("added_tokens.json", "special_tokens_map.json", "original/params.json"):
        (folder / name).write_text("{}")
    with opened_below(folder) as opened:
        find_model(str(folder))
    assert opened == set(model_files(folder))
    load_model.cache_clear()
    with opened_below(folder) as read:
        load_model("replica", str(folder), "float32", "cpu", streamed=streamed)
    load_model.cache_clear()
    assert {"config.json", "tokenizer.json", INDEX, f"{TEMPLATES}/tool_use.jinja"} <= read
    assert read <= set(model_files(folder))


def test_r30_a_change_of_any_file_that_may_be_read_is_another_model(folder):
    (folder / TEMPLATES).mkdir()
    (folder / TEMPLATES / "other.jinja").write_text("one")
    identities = {find_model(str(folder)).identity}
    for path in model_files(folder).values():
        data = bytearray(path.read_bytes())
        if path.suffix == ".safetensors":
            data[-1] ^= 1  # of the last weight
        path.write_bytes(data if path.suffix == ".safetensors" else data + b"\n")
        identities.add(find_model(str(folder)).identity)
    assert len(identities) == 1 + len(model_files(folder))
    (folder / "README.md").write_text("words")
    assert find_model(str(folder)).identity in identities


def test_the_folder_of_further_chat_templates_is_where_transformers_looks():
    assert TEMPLATES == CHAT_TEMPLATE_DIR
    assert not SUFFIXES & {".bin", ".pt", ".pth", ".h5", ".msgpack", ".pkl", ".py"}


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "model.pt", "tf_model.h5", "flax_model.msgpack"]
)
def test_r30_weights_that_are_not_safetensors_are_refused_by_name(folder, name):
    for path in [*folder.glob("*.safetensors"), folder / INDEX]:
        path.unlink()
    torch.save({"weight": torch.zeros(2)}, folder / name)
    with pytest.raises(ConfigError, match=rf"{name}, which could run code.*save_pretrained"):
        find_model(str(folder))


@pytest.mark.parametrize(
    "shard", ["../other.safetensors", "/etc/passwd", "sub/a.safetensors", "x.bin", "", "a\0b"]
)
def test_r30_an_index_names_only_safetensors_of_its_own_folder(folder, shard):
    (folder / "sub").mkdir()
    for place in ("sub/a.safetensors", "../other.safetensors"):
        shutil.copy(folder / TEXT, folder / place)
    index = json.loads((folder / INDEX).read_text())
    edit(folder / INDEX, weight_map=index["weight_map"] | {"model.norm.weight": shard})
    with pytest.raises(ConfigError, match="shards are safetensors files in the model's own folder"):
        find_model(str(folder))


def test_r30_shards_that_are_not_there_are_named_and_so_are_two_sets_of_weights(folder):
    shutil.copy(folder / TEXT, folder / WEIGHTS)
    with pytest.raises(ConfigError, match="two sets of weights; remove one"):
        find_model(str(folder))
    (folder / WEIGHTS).unlink()
    (folder / TEXT).unlink()
    with pytest.raises(ConfigError, match=rf"not there: {TEXT} \(1 of 3\)"):
        find_model(str(folder))


def test_r21_a_link_out_of_a_folder_is_refused_and_the_hubs_cache_is_a_folder(folder, tmp_path):
    outside = shutil.move(folder / TEXT, tmp_path / "outside")
    (folder / TEXT).symlink_to(outside)
    with pytest.raises(ConfigError, match=rf"{TEXT} is a link that leads out of the model folder"):
        find_model(str(folder))
    hub, blobs = tmp_path / "hub" / "snapshots" / "0123", tmp_path / "hub" / "blobs"
    hub.parent.mkdir(parents=True)
    blobs.mkdir()
    shutil.move(outside, blobs / "abcdef")
    (folder / TEXT).unlink()
    (folder / TEXT).symlink_to("../../blobs/abcdef")
    shutil.move(folder, hub)
    assert find_model(str(hub)).folder == hub


@pytest.mark.parametrize(
    "content", ["{", '{"a": NaN}', '{"a": 1, "a": 2}', "[1]", "", "[" * 100_000]
)
def test_r41_a_broken_configuration_is_named(folder, content):
    (folder / "config.json").write_text(content)
    with pytest.raises(ConfigError, match=r"config\.json (is no valid JSON|should hold an object)"):
        find_model(str(folder))


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("config.json", {"auto_map": {"AutoModel": "evil.Model"}}, "code of its own"),
        ("config.json", {"text_config": {"auto_map": {"A": "b"}}}, "code of its own"),
        ("config.json", {"quantization_config": {"quant_method": "gptq"}}, "quantized already"),
        ("config.json", {"transformers_weights": "x.safetensors"}, "weights in another file"),
        ("tokenizer_config.json", {"auto_map": {"A": ["b", None]}}, "code of its own"),
        (
            "tokenizer_config.json",
            {"fast_tokenizer_files": ["../tokenizer.1.json"]},
            "another file",
        ),
        ("processor_config.json", {"audio_tokenizer": {"a": "b"}}, "a second model"),
    ],
)
def test_r19_settings_that_lead_to_other_files_or_code_are_refused(folder, name, settings, said):
    path = folder / name
    if not path.exists():
        path.write_text("{}")
    edit(path, **settings)
    with pytest.raises(ConfigError, match=f"{name} sets .*: .*{said}"):
        find_model(str(folder))


@pytest.mark.parametrize("complete", [True, False])
def test_r19_an_adapter_is_refused(folder, complete):
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "some/where"}')
    if not complete:
        (folder / "config.json").unlink()
    with pytest.raises(ConfigError, match=r"adapter_config\.json, an adapter.*merge it"):
        find_model(str(folder))


def test_r19_an_attention_kernel_that_a_configuration_names_is_not_used(folder, original):
    plain = load_model("plain", str(original), "float32", "cpu").model.config
    edit(folder / "config.json", attn_implementation="some/kernel", _attn_implementation="x/y")
    load_model.cache_clear()
    loaded = load_model("foreign", str(folder), "float32", "cpu")
    load_model.cache_clear()
    assert loaded.model.config._attn_implementation == plain._attn_implementation


def test_r19_of_a_hub_model_the_same_is_refused(folder, monkeypatch):
    monkeypatch.setattr("harness.models.source.snapshot_download", lambda *_, **__: str(folder))
    assert find_model("some/model").folder == folder
    edit(folder / "config.json", auto_map={"AutoModel": "evil.Model"})
    with pytest.raises(ConfigError, match="sets auto_map"):
        find_model("some/model")
