import pytest
import torch

from harness.store.bank import StoredBank, load_stats, save_stats, sum_stats
from luq.decoder.blocks import BlockWeights
from luq.pipelines.contract import planted_layer, stats_of
from luq.quantizers.registry import AWQ, GPTQ, RTN, SAGE, BiLLM, Keep
from luq.rounding import error_feedback as column_sweep
from luq.types import LayerStats


@pytest.mark.parametrize(
    "quantizer", [RTN(4), RTN(3, symmetric=True), GPTQ(3, act_order=True), BiLLM(), Keep()], ids=str
)
def test_bank_entries_come_back_as_they_were(store, quantizer):
    weight, inputs = planted_layer(out=16, inner=256)
    bank = StoredBank(store, "model/calibration")
    made = BlockWeights(
        {"a.b": quantizer(weight, stats_of(inputs))}, {"norm.weight": torch.rand(16)}
    )
    assert bank.load(0, quantizer) is None
    bank.save(0, quantizer, made)
    loaded = StoredBank(store, "model/calibration").load(0, quantizer)
    assert torch.equal(loaded.linears["a.b"].dequantize(), made.linears["a.b"].dequantize())
    assert loaded.linears["a.b"].events == made.linears["a.b"].events
    assert torch.equal(loaded.changed["norm.weight"], made.changed["norm.weight"])
    assert bank.load(1, quantizer) is None


def test_only_methods_that_use_calibration_depend_on_it(store):
    first, second = StoredBank(store, "model/alpha0"), StoredBank(store, "model/alpha1")
    for free in (RTN(4), SAGE(), Keep()):
        assert first.key(0, free) == second.key(0, free)
    for calibrated in (GPTQ(4), GPTQ(4, true_sequential=True), AWQ(4), SAGE(feedback=True)):
        assert first.key(0, calibrated) != second.key(0, calibrated)
    assert first.key(0, GPTQ(4)) != first.key(0, GPTQ(4, damping=0.02))


def test_shared_hessians_are_stored_once_and_come_back_as_one_object(store):
    layer = LayerStats(torch.eye(64), 10)
    save_stats(store, "k", {"q": layer, "k": layer, "o": LayerStats(torch.ones(64, 64), 10)})
    tensors, _ = store.load_tensors("stats", "k")
    assert len(tensors) == 2
    loaded = load_stats(store, "k")
    assert torch.equal(loaded["k"].hessian, layer.hessian)
    assert loaded["q"] is loaded["k"]
    assert loaded["o"].tokens == 10


def test_a_factor_is_computed_once_for_all_linears_methods_and_runs(store, monkeypatch):
    weight, inputs = planted_layer(out=16, inner=64)
    layer = stats_of(inputs)
    save_stats(store, "k", {"q": layer, "k": layer})
    computed = []
    real = column_sweep._factorize
    monkeypatch.setattr(
        column_sweep, "_factorize", lambda *arguments: computed.append(1) or real(*arguments)
    )
    first = sum_stats(store, "sum", [load_stats(store, "k")])
    alone = [method(weight, layer).dequantize() for method in (GPTQ(4), BiLLM())]
    computed.clear()
    for method in (GPTQ(4), GPTQ(2), BiLLM()):
        for name in ("q", "k"):
            method(weight, first[name])
    assert len(computed) == 1
    again = sum_stats(store, "sum", [load_stats(store, "k")])
    shared = [method(weight, again["q"]).dequantize() for method in (GPTQ(4), BiLLM())]
    assert len(computed) == 1
    assert all(torch.equal(a, b) for a, b in zip(alone, shared, strict=True))
    GPTQ(4, damping=0.1)(weight, again["q"])
    GPTQ(4, act_order=True)(weight, again["q"])
    assert len(computed) == 3
