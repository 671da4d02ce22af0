"""Shared fixtures: planted layers, the embedded model, a store."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
import torch
from torch import Tensor

from harness.models import LoadedModel, load_model
from harness.store import Store
from luq.types import LayerStats

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


def output_error(quantized: Tensor, weight: Tensor, inputs: Tensor) -> float:
    """Relative squared error of the layer's output."""
    return float(((quantized - weight) @ inputs.T).square().sum() / (weight @ inputs.T).square().sum())


@pytest.fixture(scope="session")
def embedded() -> LoadedModel:
    return load_model("mini", "mini", "float32", "cpu")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")
