"""Quantize a model in memory."""

import pytest
import torch

import luq
from luq.calibration.capture import capture_blocks
from luq.calibration.entropy import cluster_entropy
from luq.decoder.families import find_family
from luq.decoder.packed_linear import PackedLinear
from luq.pipelines.bank import Bank
from luq.pipelines.sequential import sequential_weights
from luq.types import stored_bytes
from tests.luq.pipelines.test_bank import Memory
from tests.luq.pipelines.test_sequential import Memory as PrefixMemory
from tests.luq.replicas import FAMILIES, tiny_llama, token_sequences

GPTQ3 = luq.GPTQ(bits=3, group=32)


@pytest.fixture
def model():
    return tiny_llama(blocks=3)


@pytest.fixture(scope="module")
def sequences():
    return token_sequences(6, 24)


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def unchanged(model, before):
    after = model.state_dict()
    return after.keys() == before.keys() and all(
        torch.equal(after[name], before[name]) for name in before
    )


def stored(weights):
    return {
        (index, name, part): tensor
        for index, entry in weights.items()
        for name, packed in entry.linears.items()
        for part, tensor in packed.tensors().items()
    } | {
        (index, name): tensor
        for index, entry in weights.items()
        for name, tensor in entry.changed.items()
    }


def same(first, second):
    first, second = stored(first), stored(second)
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def bank(model, sequences):
    family = find_family(model)
    captures = list(capture_blocks(model, family, [sequences]))
    blocks = model.get_submodule(family.blocks)
    entries = Bank(
        blocks, family, lambda block: captures[block].stats[0], Memory(), lambda: iter(captures)
    )
    return entries, captures


@pytest.mark.parametrize(
    "method", [GPTQ3, luq.AWQ(3, group=32), luq.LUQ(k=1, clusters=10)], ids=str
)
@pytest.mark.parametrize("inputs", ["fp", "sequential"])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_computes_with_quantized_weights_and_is_restored_bit_for_bit(
    name, inputs, method
):
    make, data = FAMILIES[name]
    model, sequences = make(), data(6, 20)
    before, expected = state(model), model(**sequences[0]).logits
    with luq.quantize(model, method, sequences, inputs=inputs) as dense:
        logits = model(**sequences[0]).logits
        assert not torch.equal(logits, expected)
        assert dense.model is model
    assert unchanged(model, before)
    with luq.quantize(model, method, sequences, inputs=inputs, packed=True):
        assert torch.equal(model(**sequences[0]).logits, logits)
        assert sum(isinstance(module, PackedLinear) for module in model.modules()) == 14
    assert unchanged(model, before)
    assert torch.equal(model(**sequences[0]).logits, expected)


@pytest.mark.parametrize(
    "method",
    [GPTQ3, luq.GPTQ(3, group=32, true_sequential=True), luq.AWQ(3, group=32), luq.BiLLM()],
    ids=str,
)
@pytest.mark.parametrize("name", ["llama", "llava"])
def test_weights_are_those_of_the_bank(name, method):
    make, data = FAMILIES[name]
    model, sequences = make(), data(6, 20)
    entries, _ = bank(model, sequences)
    with luq.quantize(model, method, sequences) as quantized:
        plan = quantized.plan
    assert plan.blocks == ("all", "all")
    assert same(quantized.weights, entries.plan_weights(plan))


def test_weights_of_luq_are_those_of_the_bank_in_the_order_of_the_entropies(model, sequences):
    entries, captures = bank(model, sequences)
    entropies = [
        sum(values) / len(values)
        for values in (cluster_entropy(c.outputs, 12, range(3)) for c in captures)
    ]
    lowest = min(range(3), key=entropies.__getitem__)
    with luq.quantize(model, luq.LUQ(k=1, clusters=12, seeds=3), sequences) as quantized:
        plan = quantized.plan
    assert [i for i, name in enumerate(plan.blocks) if name == "low"] == [lowest]
    assert plan.methods == {"low": luq.BiLLM(), "high": luq.GPTQ(bits=4)}
    assert same(quantized.weights, entries.plan_weights(plan))


def test_sequential_inputs_are_those_after_earlier_blocks_are_quantized(model, sequences):
    with luq.quantize(model, GPTQ3, sequences, inputs="sequential") as behind:
        plan = behind.plan
    with luq.quantize(model, GPTQ3, sequences) as fp:
        pass
    family = find_family(model)
    expected = sequential_weights(model, family, plan, lambda: sequences, PrefixMemory())
    assert same(behind.weights, expected)
    assert not same(behind.weights, fp.weights)


def test_sizes_are_those_of_the_packed_weights(model, sequences):
    quantized = luq.quantize(model, luq.GPTQ(bits=4, group=64), sequences)
    packed = [w for entry in quantized.weights.values() for w in entry.linears.values()]
    assert len(packed) == 21
    assert quantized.stored_bytes == sum(map(stored_bytes, packed))
    assert quantized.stored_bits == 4 + 20 / 64
    assert quantized.paper_bits == 4
    assert "gptq(group=64), 4.312 stored bits" in repr(quantized)
    quantized.restore()
    assert "restored" in repr(quantized)


def test_events_name_block_and_linear(model):
    with luq.quantize(model, GPTQ3, token_sequences(1, 8)) as quantized:
        assert len(quantized.events) == 21
    assert quantized.events[0] == (
        "block 0 self_attn.q_proj: rank 8 calibration tokens for 64 inputs: singular but for the"
        " damping"
    )


def test_token_ids_alone_are_calibration_data(model, sequences):
    with luq.quantize(model, GPTQ3, sequences) as expected:
        pass
    ids = [one["input_ids"] for one in sequences]
    for data in (ids, [one[0] for one in ids], iter(ids), torch.cat(ids)):
        with luq.quantize(model, GPTQ3, data) as quantized:
            assert same(quantized.weights, expected.weights)


def test_methods_without_calibration_need_none(model):
    for method in (luq.RTN(4), luq.LUQ(k=0, high=luq.RTN(4)), luq.FullPrecision()):
        with luq.quantize(model, method, inputs="sequential") as quantized:
            assert quantized.events == ()
    depth = luq.LUQ(k=2, low=luq.RTN(2), high=luq.RTN(4), order="depth")
    with luq.quantize(model, depth) as quantized:
        assert quantized.plan.blocks == ("high", "low", "low")


def test_full_precision_changes_nothing_and_stores_what_there_was(model):
    before = state(model)
    quantized = luq.quantize(model, luq.FullPrecision(), packed=False)
    assert unchanged(model, before)
    assert quantized.stored_bits == 32
    quantized.restore()
    with luq.quantize(model.bfloat16(), luq.FullPrecision()) as quantized:
        assert quantized.stored_bits == 16


def test_an_exception_inside_the_context_restores_the_model(model, sequences):
    before = state(model)
    for packed in (False, True):
        with pytest.raises(KeyError), luq.quantize(model, GPTQ3, sequences, packed=packed):
            raise KeyError
        assert unchanged(model, before)


def test_a_block_that_cannot_be_quantized_leaves_the_model_as_it_was(model, sequences):
    model.model.layers[2].mlp.down_proj.weight.data[3, 3] = 1e30
    before = state(model)
    for inputs in ("fp", "sequential"):
        with pytest.raises(luq.QuantizationError, match="block 2"):
            luq.quantize(model, luq.RTN(4), sequences, inputs=inputs)
        assert unchanged(model, before)
    model.model.layers[2].mlp.down_proj.weight.data[3, 3] = 0
    luq.quantize(model, luq.RTN(4)).restore()


def test_a_second_restore_does_nothing_and_a_released_model_stays_quantized(model, sequences):
    before = state(model)
    quantized = luq.quantize(model, GPTQ3, sequences)
    quantized.restore()
    quantized.restore()
    assert unchanged(model, before)
    weight = model.model.layers[0].mlp.up_proj.weight
    dense = weight.data_ptr()
    with luq.quantize(model, GPTQ3, sequences, packed=True) as quantized:
        quantized.release()
    linear = model.model.layers[0].mlp.up_proj
    assert isinstance(linear, PackedLinear)
    assert dense not in {parameter.data_ptr() for parameter in model.parameters()}
    with pytest.raises(luq.QuantizationError, match=r"quantized already, by gptq\(bits=3"):
        luq.quantize(model, luq.RTN(4))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("inputs", ["fp", "sequential"])
def test_gradients_flow_through_a_quantized_model(sequences, inputs, packed):
    model = tiny_llama().requires_grad_(True)
    for method in (GPTQ3, luq.AWQ(3, group=32), luq.BiLLM()):
        with luq.quantize(model, method, sequences, inputs=inputs, packed=packed):
            model(**sequences[0]).logits.sum().backward()
        assert model.model.embed_tokens.weight.grad.abs().sum() > 0


def test_wrong_models_are_refused_with_what_to_do(model, sequences):
    with pytest.raises(luq.QuantizationError, match="unknown architecture 'Linear'"):
        luq.quantize(torch.nn.Linear(4, 4), GPTQ3, sequences)
    with pytest.raises(luq.QuantizationError, match=r"training mode; call model\.eval\(\)"):
        luq.quantize(model.train(), GPTQ3, sequences)
    model.eval()
    with (
        luq.quantize(model, luq.RTN(4)),
        pytest.raises(luq.QuantizationError, match=r"quantized already, by rtn; call restore\(\)"),
    ):
        luq.quantize(model, GPTQ3, sequences)
    luq.quantize(model, GPTQ3, sequences, packed=True).release()
    del model._luq_quantizer
    with pytest.raises(luq.QuantizationError, match="is quantized already; start from the full"):
        luq.quantize(model, GPTQ3, sequences)
    other = tiny_llama()
    other.model.layers[1].mlp.up_proj.weight.data = torch.zeros(128, 64, dtype=torch.int8)
    with pytest.raises(luq.QuantizationError, match=r"block 1 mlp\.up_proj holds torch\.int8"):
        luq.quantize(other, GPTQ3, sequences)
    with pytest.raises(luq.QuantizationError, match="weights on meta"):
        luq.quantize(tiny_llama().to("meta"), luq.RTN(4))


def test_wrong_options_are_refused_before_any_work(model, sequences):
    with pytest.raises(luq.OptionError, match="inputs is 'graft'; choose fp or sequential"):
        luq.quantize(model, GPTQ3, sequences, inputs="graft")
    for k in (-1, 4):
        with pytest.raises(luq.OptionError, match=rf"k is {k}, the model has 3 decoder blocks"):
            luq.quantize(model, luq.LUQ(k=k), sequences)
    with pytest.raises(luq.QuantizationError, match="needs calibration data: pass sequences"):
        luq.quantize(model, GPTQ3)
    with pytest.raises(luq.OptionError, match="144 tokens cannot form 145 clusters"):
        luq.quantize(model, luq.LUQ(k=1, clusters=145), sequences)
