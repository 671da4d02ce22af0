import pytest
import torch

from luq import AWQ, GPTQ, RTN
from luq.allocation.plan import Plan
from luq.calibration.capture import capture_blocks
from luq.decoder.apply import applied
from luq.decoder.families import FAMILIES
from luq.pipelines.bank import quantize_block
from luq.pipelines.sequential import grafted_weights, sequential_weights
from luq.types import QuantizationError
from tests.luq.replicas import tiny_llama, token_sequences

FAMILY = FAMILIES["llama"]
LOW, HIGH = GPTQ(2, group=32), GPTQ(4, group=32)
METHODS = {"low": LOW, "high": HIGH}
ALL_LOW, ALL_HIGH = Plan(("low",) * 3, METHODS), Plan(("high",) * 3, METHODS)


class Memory:
    def __init__(self):
        self.entries, self.made = {}, 0

    def load_behind(self, prefix, quantizer):
        return self.entries.get((tuple(prefix), quantizer))

    def save_behind(self, prefix, quantizer, weights):
        self.made += 1
        self.entries[tuple(prefix), quantizer] = weights


@pytest.fixture(scope="module")
def sequences():
    return token_sequences(6, 24)


@pytest.fixture
def model():
    return tiny_llama(blocks=3)


def dense(weights):
    return {
        (i, name): packed.dequantize()
        for i, entry in weights.items()
        for name, packed in entry.linears.items()
    }


def same(first, second):
    assert first.keys() == second.keys()
    return all(torch.equal(first[key], second[key]) for key in first)


def test_a_block_is_calibrated_after_the_plan_quantized_all_earlier_blocks(model, sequences):
    """Oracle: put the blocks before it into the model and capture again from the beginning."""
    plan = Plan(("low", "high", "low"), METHODS)
    weights = sequential_weights(model, FAMILY, plan, lambda: sequences, Memory())
    expected = {}
    for index, name in enumerate(plan.blocks):
        with applied(model, FAMILY, expected):
            capture = list(capture_blocks(model, FAMILY, [sequences]))[index]
        expected[index] = quantize_block(
            model.model.layers[index], FAMILY, METHODS[name], capture.stats[0], "block"
        )
    assert same(dense(weights), dense(expected))
    fp = [
        quantize_block(
            model.model.layers[c.index], FAMILY, METHODS[plan.blocks[c.index]], c.stats[0], ""
        )
        for c in capture_blocks(model, FAMILY, [sequences])
    ]
    assert same(dense({0: weights[0]}), dense({0: fp[0]}))
    assert not same(dense({2: weights[2]}), dense({2: fp[2]}))


def test_plans_with_a_common_prefix_share_its_entries_and_the_model_stays_as_it_was(
    model, sequences
):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    memory = Memory()
    for blocks in (
        ("high", "high", "high"),
        ("high", "high", "low"),
        ("high", "low", "low"),
        ("high", "low", "low"),
    ):
        sequential_weights(model, FAMILY, Plan(blocks, METHODS), lambda: sequences, memory)
    assert memory.made == 3 + 1 + 2
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_complete_plans_never_ask_for_calibration_data(model, sequences):
    memory = Memory()
    first = sequential_weights(model, FAMILY, ALL_LOW, lambda: sequences, memory)
    again = sequential_weights(
        model, FAMILY, ALL_LOW, lambda: pytest.fail("read the sequences"), memory
    )
    assert same(dense(first), dense(again))


def test_grafts_take_each_block_from_the_whole_model_run_of_its_method(model, sequences):
    memory = Memory()
    low, high = (
        sequential_weights(model, FAMILY, plan, lambda: sequences, memory)
        for plan in (ALL_LOW, ALL_HIGH)
    )
    mixed = grafted_weights(
        model, FAMILY, Plan(("low", "high", "low"), METHODS), lambda: sequences, memory
    )
    assert same(dense(mixed), dense({0: low[0], 1: high[1], 2: low[2]}))
    assert memory.made == 6
    for plan, whole in ((ALL_LOW, low), (ALL_HIGH, high)):
        assert same(
            dense(grafted_weights(model, FAMILY, plan, lambda: sequences, memory)), dense(whole)
        )


def test_full_precision_blocks_and_methods_without_statistics_go_along(model, sequences):
    plan = Plan(("none", "rtn", "awq"), {"rtn": RTN(4), "awq": AWQ(3, group=32)})
    weights = sequential_weights(model, FAMILY, plan, lambda: sequences, Memory())
    assert sorted(weights) == [1, 2]
    assert same(
        dense({1: weights[1]}),
        dense({1: quantize_block(model.model.layers[1], FAMILY, RTN(4), {}, "")}),
    )


def test_no_sequences_and_broken_activations_are_named(model, sequences):
    with pytest.raises(QuantizationError, match="no sequences"):
        sequential_weights(model, FAMILY, ALL_LOW, list, Memory())
    model.model.layers[1].mlp.down_proj.weight.data[0, 0] = float("nan")
    with pytest.raises(QuantizationError, match="block 1"):
        sequential_weights(model, FAMILY, ALL_LOW, lambda: sequences, Memory())
