import pytest

from harness.config.schema import CalibrationConfig, MethodConfig
from harness.store.store import Store
from harness.variants.calibration_run import CalibrationRun
from harness.variants.variant import make_variant
from harness.variants.weights import (
    BankWeights,
    GraftedWeights,
    SequentialWeights,
    weight_source,
)
from luq import GPTQ, RTN, BiLLM
from luq.allocation.plan import Plan, ranked_prefix
from luq.pipelines import bank
from luq.rounding import error_feedback
from tests.harness.variants.conftest import SMALL

LOW, HIGH = BiLLM(), GPTQ(4)
TINY = CalibrationConfig(sequence=32, tokens=256)


@pytest.fixture
def run(narrow, store):
    return CalibrationRun(narrow, TINY, store)


@pytest.fixture
def quantized(monkeypatch):
    """Labels of the blocks that were quantized."""
    labels, real = [], bank.quantize_block
    monkeypatch.setattr(bank, "quantize_block", lambda *a: labels.append(a[4]) or real(*a))
    return labels


def same(first, second):
    return all(
        (first.linears[name].dequantize() == second.linears[name].dequantize()).all()
        for name in first.linears
    )


def test_every_kind_of_inputs_has_its_source(run):
    kinds = {"fp": BankWeights, "graft": GraftedWeights, "sequential": SequentialWeights}
    for inputs, kind in kinds.items():
        assert isinstance(weight_source(run, inputs), kind)


def test_every_k_and_order_together_cost_two_quantizations_of_each_block(run, quantized):
    digests = set()
    for order in ("depth", "first", "random"):
        for k in range(5):
            method = MethodConfig(
                name="luq",
                low={"method": "billm"},
                high={"method": "gptq", "bits": 4},
                k=k,
                order=order,
            )
            digests.add(make_variant(run, method).digest)
    assert sorted(quantized) == sorted(f"block {i}" for i in range(4) for _ in range(2))
    assert len(digests) > 6


def test_a_block_that_keeps_full_precision_is_left_out(run, quantized):
    weights = BankWeights(run).weights(Plan(("none", "rtn", "none", "none"), {"rtn": RTN(4)}))
    assert list(weights) == [1]
    assert quantized == ["block 1"]


def test_a_damaged_entry_is_quantized_again_with_the_same_content(run, store):
    source, plan = BankWeights(run), ranked_prefix((3, 2, 1, 0), 2, LOW, HIGH)
    before = source.weights(plan)
    victim = store.path("bank", source.bank.key(3, LOW)) / "tensors.safetensors"
    data = bytearray(victim.read_bytes())
    data[-1] ^= 1
    victim.write_bytes(data)
    assert same(source.weights(plan)[3], before[3])
    assert list((store.root / "corrupt").iterdir())


def test_factors_are_stored_by_the_run_and_shared_by_methods_and_runs(run, store, monkeypatch):
    factorized, real = [], error_feedback._factorize
    monkeypatch.setattr(error_feedback, "_factorize", lambda *a: factorized.append(1) or real(*a))
    groups = len(run.loaded.family.shared_inputs)
    BankWeights(run).weights(ranked_prefix((0, 1, 2, 3), 0, None, HIGH))
    assert len(factorized) == 4 * groups
    assert len(list((store.root / "factors").iterdir())) == 4 * groups
    again = CalibrationRun(run.loaded, TINY, store)
    BankWeights(again).weights(ranked_prefix((0, 1, 2, 3), 4, LOW, None))
    assert len(factorized) == 4 * groups  # the same damping
    BankWeights(again).weights(ranked_prefix((0, 1, 2, 3), 0, None, GPTQ(4, damping=0.1)))
    assert len(factorized) == 8 * groups


def test_a_quantizer_reads_and_writes_no_store(run, monkeypatch):
    """While a block is quantized, nothing is loaded and nothing saved."""
    real, inside = bank.quantize_block, []

    def quantize(*arguments):
        inside.append(1)
        try:
            return real(*arguments)
        finally:
            inside.pop()

    monkeypatch.setattr(bank, "quantize_block", quantize)
    for name in ("load_tensors", "save_tensors", "has"):
        method = getattr(Store, name)
        monkeypatch.setattr(
            Store,
            name,
            lambda self, *a, method=method, name=name: (
                pytest.fail(f"{name} inside a quantizer") if inside else method(self, *a)
            ),
        )
    assert len(BankWeights(run).weights(ranked_prefix((0, 1, 2, 3), 2, LOW, HIGH))) == 4


def test_sequential_inputs_differ_from_full_precision_ones_behind_the_first_block(run):
    plan = ranked_prefix((0, 1, 2, 3), 0, None, GPTQ(2))
    from_bank = weight_source(run, "fp").weights(plan)
    behind = weight_source(run, "sequential").weights(plan)
    assert same(from_bank[0], behind[0])
    assert not same(from_bank[3], behind[3])


def test_grafted_blocks_come_from_whole_model_runs_of_their_own_method(narrow_run):
    assert narrow_run.calibration == SMALL
    order = (0, 1, 2, 3)
    grafted = weight_source(narrow_run, "graft").weights(ranked_prefix(order, 2, LOW, GPTQ(2)))
    alone = {
        name: weight_source(narrow_run, "sequential").weights(Plan((name,) * 4, {name: quantizer}))
        for name, quantizer in (("low", LOW), ("high", GPTQ(2)))
    }
    for block in order:
        assert same(grafted[block], alone["low" if block < 2 else "high"][block])
