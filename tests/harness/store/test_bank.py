"""Entries of the bank depend on what they were made from and on nothing else."""

import pytest
import torch

from harness.store.bank import StoredBank
from luq import AWQ, GPTQ, RTN, SAGE, BiLLM, FullPrecision
from luq.decoder.blocks import BlockWeights
from luq.pipelines.synthetic import stats_of, synthetic_layer
from luq.rounding.grids import GridWeight
from luq.types import UnknownFormat


@pytest.mark.parametrize(
    "quantizer",
    [RTN(4), RTN(3, symmetric=True), GPTQ(3, act_order=True), BiLLM(), FullPrecision()],
    ids=str,
)
def test_bank_entries_come_back_as_they_were(store, quantizer):
    weight, inputs = synthetic_layer(out=16, inner=256)
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


class Vector(GridWeight):
    """What a package that is not installed any more made."""

    format = "vector"


def test_an_entry_of_an_unknown_format_is_an_error_and_no_damage(store):
    packed = RTN(4)(synthetic_layer(out=16, inner=256)[0], None)
    bank = StoredBank(store, "model/calibration")
    parts = {**packed.header(), "zero": None, "group_index": None, **packed.tensors()}
    bank.save(0, RTN(4), BlockWeights({"a.b": Vector(**parts)}))
    for _ in range(2):
        with pytest.raises(UnknownFormat, match="'vector', which no installed package knows"):
            bank.load(0, RTN(4))
        assert bank.has(0, RTN(4))


def test_only_methods_that_use_calibration_depend_on_it(store):
    first, second = StoredBank(store, "model/alpha0"), StoredBank(store, "model/alpha1")
    for free in (RTN(4), SAGE(), FullPrecision()):
        assert first.key(0, free) == second.key(0, free)
    for calibrated in (GPTQ(4), GPTQ(4, true_sequential=True), AWQ(4), SAGE(feedback=True)):
        assert first.key(0, calibrated) != second.key(0, calibrated)
    assert first.key(0, GPTQ(4)) != first.key(0, GPTQ(4, damping=0.02))
