"""Training in several sittings is training in one."""

import dataclasses
import math

import pytest
import torch
from transformers import AutoModelForImageTextToText, Qwen2_5_VLForConditionalGeneration

from harness.models.load import load_model
from tools.mini import train
from tools.mini.deep_model import build_deep_config
from tools.mini.train import RECIPES, Options, Trainer

LENGTH = {"mini": 96, "mini_deep": 320}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Two decoder blocks are enough here, and every step is logged."""
    monkeypatch.setattr(train, "LOG_EVERY", 1)
    deep = dataclasses.replace(
        RECIPES["mini_deep"],
        model=lambda tokenizer: Qwen2_5_VLForConditionalGeneration(build_deep_config(tokenizer, 2)),
    )
    monkeypatch.setattr(train, "RECIPES", {**RECIPES, "mini_deep": deep})


def options(out, model, **changes):
    out.mkdir(exist_ok=True)
    usual = {
        "steps": 4,
        "stop_after_seconds": math.inf,
        "rows": 2,
        "length": LENGTH[model],
        "lr": 2e-3,
        "adam_lr": 1e-3,
        "warmup": 2,
        "processes": 1,
        "seed": 0,
        "compile": False,
    }
    return Options(out=out, model=model, **usual | changes)


@pytest.mark.parametrize("model", RECIPES)
def test_a_run_that_stops_after_every_step_ends_with_the_weights_of_one_that_does_not(
    tmp_path, model
):
    whole = Trainer(options(tmp_path / "whole", model), 0)
    whole.train()
    sittings = 0
    while True:
        sittings += 1
        part = Trainer(options(tmp_path / "parts", model, stop_after_seconds=-1.0), 0)
        part.train()
        if part.step == 4:
            break
    assert sittings == 4
    assert part.sequences == whole.sequences
    first, second = whole.model.state_dict(), part.model.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    lines = (tmp_path / "parts" / "log.jsonl").read_text().splitlines()
    assert len(lines) == 4


def test_another_seed_is_another_run(tmp_path):
    losses = []
    for seed in (0, 1):
        trainer = Trainer(options(tmp_path / str(seed), "mini", steps=1, seed=seed), 0)
        trainer.train()
        losses.append((tmp_path / str(seed) / "log.jsonl").read_text().split('"loss": ')[1][:6])
    assert losses[0] != losses[1]


def test_a_checkpoint_is_written_when_the_last_one_is_too_old(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "SAVE_SECONDS", 0.0)
    saved = []
    monkeypatch.setattr(Trainer, "_save", lambda self: saved.append(self.step))
    Trainer(options(tmp_path / "run", "mini", steps=3), 0).train()
    assert saved == [1, 2, 3]


@pytest.mark.parametrize("model", RECIPES)
def test_what_is_saved_is_a_model_that_the_harness_loads(tmp_path, model):
    Trainer(options(tmp_path / "run", model, steps=1), 0).train()
    folder = tmp_path / "run" / "model"
    loaded = load_model("trained", str(folder), "float32", "cpu")
    assert len(loaded.blocks) == {"mini": 8, "mini_deep": 2}[model]
    stored = AutoModelForImageTextToText.from_pretrained(folder)
    assert {parameter.dtype for parameter in stored.parameters()} == {torch.bfloat16}
