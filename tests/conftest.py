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
import torch
from hydra.core.global_hydra import GlobalHydra
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from harness import app
from harness.model_source import EMBEDDED
from harness.models import LoadedModel, load_model
from harness.store import Store
from luq.blocks import BlockInput, needs_inputs
from luq.families import Family, ScaleGroup
from luq.types import LayerStats, QuantizedWeight
from tests import replicas

GOLDEN = Path(__file__).parents[2] / "shared" / "golden"


def planted_layer(out: int = 64, inner: int = 256, *, seed: int = 0, tokens: int = 2048, dead: int = 0) -> tuple[Tensor, Tensor]:
    """(weight (out, inner), correlated inputs (tokens, inner)); the spectrum falls as in real activations, `dead` columns are zero."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(out, inner, generator=generator) * 0.02
    basis, _ = torch.linalg.qr(torch.randn(inner, inner, generator=generator))
    scale = torch.arange(1, inner + 1, dtype=torch.float32) ** -0.5
    inputs = torch.randn(tokens, inner, generator=generator) * scale @ basis.T
    if dead:
        inputs[:, torch.randperm(inner, generator=generator)[:dead]] = 0
    return weight, inputs


def stats_of(inputs: Tensor) -> LayerStats:
    return LayerStats(inputs.T @ inputs / len(inputs), len(inputs))


class Scaled(nn.Module):
    """A norm reduced to its weight."""

    def __init__(self, size: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size), requires_grad=False)

    def forward(self, state: Tensor) -> Tensor:
        return state * self.weight


class OneLinear(nn.Module):
    """The smallest block: what comes before, and a linear."""

    def __init__(self, weight: Tensor):
        super().__init__()
        self.norm = Scaled(weight.shape[1])
        self.linear = nn.Linear(weight.shape[1], len(weight), bias=False).requires_grad_(False)
        self.linear.weight.data = weight.clone()

    def forward(self, state: Tensor) -> Tensor:
        return self.linear(self.norm(state))


ONE_LINEAR = Family("one", "", "", (("linear",),), (ScaleGroup("norm", ("linear",), "linear"),), ())


def quantized(method, weight: Tensor, inputs: Tensor) -> tuple[QuantizedWeight, Tensor]:
    """(packed weight, what the layer computes with) of any method, whether it sees statistics or a whole block."""
    if not needs_inputs(method):
        packed = method(weight, stats_of(inputs))
        return packed, packed.dequantize()
    block = OneLinear(weight).to(weight.device)
    found = method.quantize_block(block, ONE_LINEAR, [BlockInput(part[None]) for part in inputs.chunk(4)])
    assert torch.equal(block.linear.weight, weight), "the block was changed"
    assert torch.equal(block.norm.weight, torch.ones_like(block.norm.weight)), "the block was changed"
    packed = found.linears["linear"]
    return packed, packed.dequantize() * found.changed.get("norm.weight", torch.ones(weight.shape[1]))


def output_error(quantized: Tensor, weight: Tensor, inputs: Tensor) -> float:
    """Relative squared error of the layer's output."""
    return float(((quantized - weight) @ inputs.T).square().sum() / (weight @ inputs.T).square().sum())


@pytest.fixture(scope="session")
def embedded() -> LoadedModel:
    return load_model("mini", "mini", "float32", "cpu")


@pytest.fixture(scope="session")
def narrow_model(tmp_path_factory) -> Path:
    """Folder of a corner of the embedded model: half of its blocks, narrower; fast where answers do not matter."""
    config = AutoConfig.from_pretrained(EMBEDDED)
    narrow = {"hidden_size": 128, "intermediate_size": 128, "num_attention_heads": 2, "num_key_value_heads": 2, "num_hidden_layers": 4}
    config.text_config.update(narrow)
    config.vision_config.update({"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2})
    model, whole = AutoModelForImageTextToText.from_config(config), load_model("mini", "mini", "float32", "cpu").model.state_dict()
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
def run(tmp_path, monkeypatch, capsys):
    """Run the command in this process: (exit code, what it printed)."""

    def call(*arguments):
        GlobalHydra.instance().clear()
        store = [] if any(a.startswith("store=") for a in arguments) else [f"store={tmp_path / 'runs'}"]
        monkeypatch.setattr(sys, "argv", ["harness", *store, *arguments])
        code = app.main()
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return call
