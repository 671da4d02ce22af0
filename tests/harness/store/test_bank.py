"""Entries of the bank depend on what they were made from and on nothing else."""

import pytest
import torch

from harness.store.bank import StoredBank
from luq.decoder.blocks import BlockWeights
from luq.pipelines.contract import planted_layer, stats_of
from luq.quantizers.registry import AWQ, GPTQ, RTN, SAGE, BiLLM, Keep


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
