"""Shared fixtures: planted layers, the embedded model, a store."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:  # one thread for each of the processes that share the cores
    os.environ["OMP_NUM_THREADS"] = "1"

import pytest
from hydra.core.global_hydra import GlobalHydra
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from harness.cli import main as app
from harness.models.load import LoadedModel, load_model
from harness.paths import EMBEDDED
from harness.store.store import Store
from luq.quantizers import code
from tests import replicas


@pytest.fixture(scope="session")
def embedded() -> LoadedModel:
    return load_model("mini", "mini", "float32", "cpu")


@pytest.fixture(scope="session")
def narrow_model(tmp_path_factory) -> Path:
    """Folder of a corner of the embedded model: half of its blocks, narrower; fast where answers do
    not matter.
    """
    config = AutoConfig.from_pretrained(EMBEDDED)
    narrow = {
        "hidden_size": 128,
        "intermediate_size": 128,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "num_hidden_layers": 4,
    }
    config.text_config.update(narrow)
    config.vision_config.update(
        {
            "hidden_size": 24,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
        }
    )
    model, whole = (
        AutoModelForImageTextToText.from_config(config),
        load_model("mini", "mini", "float32", "cpu").model.state_dict(),
    )
    for name, parameter in model.named_parameters():
        parameter.data = whole[name][tuple(slice(size) for size in parameter.shape)].clone()
    folder = tmp_path_factory.mktemp("narrow_model")
    model.save_pretrained(folder)
    AutoProcessor.from_pretrained(EMBEDDED, backend="pil").save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def narrow_text_model(tmp_path_factory) -> Path:
    """Folder of a small language model with random weights."""
    return replicas.qwen2_text(tmp_path_factory.mktemp("narrow_text_model"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


@pytest.fixture
def change_luq(monkeypatch):
    """Add a line to a module of luq, as far as digests of code can see."""
    modules = code._luq()

    def change(module, line="STEP = 1"):
        text = code._code(modules[module] + b"\n" + line.encode())
        monkeypatch.setattr(code, "_luq", lambda: {**modules, module: text})
        forget()

    def forget():
        code._luq_digest.cache_clear()
        code.shared_code.cache_clear()

    yield change
    forget()


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run the command in this process: (exit code, what it printed)."""

    def call(*arguments):
        GlobalHydra.instance().clear()
        store = (
            [] if any(a.startswith("store=") for a in arguments) else [f"store={tmp_path / 'runs'}"]
        )
        monkeypatch.setattr(sys, "argv", ["harness", *store, *arguments])
        code = app.main()
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return call
