"""Statistics and factors are stored once for all linears and methods that share them."""

import pytest
import torch

from harness.store import digest
from harness.store.factors import load_factors, load_stats, save_factors, save_stats, sum_stats
from luq import GPTQ, BiLLM
from luq.pipelines.synthetic import stats_of, synthetic_layer
from luq.rounding import error_feedback
from luq.types import Factor, LayerStats


def test_shared_hessians_are_stored_once_and_come_back_as_one_object(store):
    layer = LayerStats(torch.eye(64), 10)
    save_stats(store, "k", {"q": layer, "k": layer, "o": LayerStats(torch.ones(64, 64), 10)})
    tensors, _ = store.load_tensors("stats", "k")
    assert len(tensors) == 2
    loaded = load_stats(store, "k")
    assert torch.equal(loaded["k"].hessian, layer.hessian)
    assert loaded["q"] is loaded["k"]
    assert loaded["o"].tokens == 10


def test_statistics_of_all_parts_weigh_each_by_its_tokens():
    parts = [{"q": LayerStats(torch.eye(4) * x, tokens)} for x, tokens in ((1.0, 30), (5.0, 10))]
    total = sum_stats(parts)["q"]
    assert torch.allclose(total.hessian, torch.eye(4) * 2)
    assert total.tokens == 40


def test_a_factor_is_computed_once_for_all_linears_methods_and_runs(store, monkeypatch):
    weight, inputs = synthetic_layer(out=16, inner=64)
    layer = stats_of(inputs)
    save_stats(store, "k", {"q": layer, "k": layer})
    computed = []
    real = error_feedback._factorize
    monkeypatch.setattr(
        error_feedback, "_factorize", lambda *arguments: computed.append(1) or real(*arguments)
    )
    alone = [method(weight, layer).dequantize() for method in (GPTQ(4), BiLLM())]
    computed.clear()
    first = sum_stats([load_stats(store, "k")])
    for method in (GPTQ(4), GPTQ(2), BiLLM()):
        for name in ("q", "k"):
            method(weight, first[name])
    assert len(computed) == 1
    save_factors(store, "sum", first)
    assert len(list((store.root / "factors").iterdir())) == 1
    again = sum_stats([load_stats(store, "k")])
    load_factors(store, "sum", again, first["q"].factors)
    shared = [method(weight, again["q"]).dequantize() for method in (GPTQ(4), BiLLM())]
    assert len(computed) == 1
    assert all(torch.equal(a, b) for a, b in zip(alone, shared, strict=True))
    GPTQ(4, damping=0.1)(weight, again["q"])
    GPTQ(4, act_order=True)(weight, again["q"])
    assert len(computed) == 3


def test_factors_lie_where_version_0_1_0_put_them(store):
    """Named by the first linear of those that share them."""
    layer = LayerStats(torch.eye(4), 10)
    layer.factors["0.01"] = Factor(torch.eye(4), 0.02)
    save_factors(store, "sum", {"q": layer, "k": layer})
    (path,) = (store.root / "factors").iterdir()
    assert path.name == digest.of_value(["sum/q", "0.01"])


@pytest.mark.parametrize("damage", ["absent", "damaged"])
def test_a_factor_that_is_not_there_is_left_out(store, damage):
    layer = LayerStats(torch.eye(4), 10)
    if damage == "damaged":
        layer.factors["0.01"] = Factor(torch.eye(4), 0.02)
        save_factors(store, "sum", {"q": layer})
        next((store.root / "factors").glob("*/*.safetensors")).write_bytes(b"")
    fresh = {"q": LayerStats(torch.eye(4), 10)}
    load_factors(store, "sum", fresh, ["0.01"])
    assert not fresh["q"].factors
