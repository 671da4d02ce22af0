"""AWQ on real decoder blocks."""

import pytest
import torch

from luq import AWQ, GPTQ
from luq.allocation.plan import Plan
from luq.calibration.capture import capture_blocks
from luq.decoder.blocks import BlockInput, batched, run_block
from luq.decoder.families import FAMILIES
from luq.pipelines.bank import Bank
from luq.types import QuantizationError
from tests.luq.replicas import tiny_llama, token_sequences

FAMILY = FAMILIES["llama"]


def first_capture(model):
    return next(iter(capture_blocks(model, FAMILY, [token_sequences(6, 32)])))


def block_error(block, other, inputs):
    return sum(float((run_block(block, x) - run_block(other, x)).square().sum()) for x in inputs)


@pytest.mark.parametrize("heads", [4, 2])
@pytest.mark.parametrize("duo", [False, True])
def test_before_rounding_the_block_computes_the_same_function(heads, duo):
    model = tiny_llama(key_value_heads=heads)
    block, inputs = model.model.layers[0], first_capture(model).inputs
    moved = AWQ(3, group=32, duo=duo).transformed(block, FAMILY, inputs)
    assert not torch.equal(moved.mlp.up_proj.weight, block.mlp.up_proj.weight)
    for given in inputs:
        torch.testing.assert_close(
            run_block(moved, given), run_block(block, given), rtol=1e-4, atol=1e-5
        )


def test_o_proj_is_left_out_where_heads_share_values_and_scaled_where_they_do_not():
    for heads, scaled in ((4, True), (2, False)):
        model = tiny_llama(key_value_heads=heads)
        block = model.model.layers[0]
        # one channel that is rounded badly unless it is scaled
        block.self_attn.v_proj.weight.data[5] *= 20
        moved = AWQ(3, group=32).transformed(block, FAMILY, first_capture(model).inputs)
        assert (
            not torch.equal(moved.self_attn.o_proj.weight, block.self_attn.o_proj.weight)
        ) == scaled


def test_norms_change_with_the_weights_and_nothing_else_does():
    model = tiny_llama(key_value_heads=4)
    for norm in (
        model.model.layers[0].input_layernorm,
        model.model.layers[0].post_attention_layernorm,
    ):
        norm.weight.data[::16] *= 8  # a few strong channels, which AWQ is for
    result = AWQ(3, group=32).quantize_block(
        model.model.layers[0], FAMILY, first_capture(model).inputs
    )
    assert set(result.changed) == {"input_layernorm.weight", "post_attention_layernorm.weight"}
    assert set(result.linears) == set(FAMILY.linears)


def test_clips_lower_the_error_they_are_searched_for():
    weight = torch.randn(16, 64)
    weight[:, 3] = 6.0  # an outlier that widens the grid
    inputs = torch.randn(200, 64)
    inputs[:, 3] = 1e-3
    method = AWQ(3, group=32)
    clipped = method._clipped(weight, inputs)
    errors = [
        float(((method(w, None).dequantize() - weight) @ inputs.T).square().sum())
        for w in (clipped, weight)
    ]
    assert errors[0] < 0.9 * errors[1]
    assert not torch.equal(clipped, weight)


def test_blocks_are_quantized_in_one_pass_and_stored():
    model = tiny_llama(blocks=3)
    passes, saved = [], {}

    class Memory:
        load = staticmethod(lambda block, quantizer: saved.get((block, quantizer)))
        save = staticmethod(
            lambda block, quantizer, weights: saved.update({(block, quantizer): weights})
        )

    def captures():
        passes.append(1)
        return capture_blocks(model, FAMILY, [token_sequences(4, 16)])

    bank = Bank(model.model.layers, FAMILY, lambda block: pytest.fail("asked"), Memory(), captures)
    plan = Plan(
        ("a", "b", "a"), {"a": AWQ(4, group=32), "b": GPTQ(3, group=32, true_sequential=True)}
    )
    first = bank.plan_weights(plan)
    again = bank.plan_weights(plan)
    assert len(passes) == 1
    assert set(first) == set(again) == {0, 1, 2}


def test_later_groups_of_a_true_sequential_block_see_what_the_earlier_became():
    model = tiny_llama(blocks=1)
    capture = first_capture(model)
    turn = GPTQ(2, group=32, true_sequential=True).quantize_block(
        model.model.layers[0], FAMILY, capture.inputs
    )
    plain = {
        name: GPTQ(2, group=32)(
            model.model.layers[0].get_submodule(name).weight, capture.stats[0][name]
        )
        for name in FAMILY.linears
    }
    same = {
        name: torch.equal(turn.linears[name].dequantize(), plain[name].dequantize())
        for name in FAMILY.linears
    }
    assert same["self_attn.q_proj"]
    assert same["self_attn.k_proj"]
    assert not same["self_attn.o_proj"]
    assert not same["mlp.down_proj"]


@pytest.mark.parametrize(
    "method", [AWQ(4, group=32), GPTQ(4, group=32, true_sequential=True)], ids=str
)
def test_without_inputs_or_with_a_bad_weight_the_linear_is_named(method):
    model = tiny_llama(blocks=1)
    inputs = first_capture(model).inputs
    with pytest.raises(
        QuantizationError, match=r"needs the block's calibration inputs|was never reached"
    ):
        method.quantize_block(model.model.layers[0], FAMILY, [])
    model.model.layers[0].self_attn.q_proj.weight.data[0, 0] = float("nan")
    with pytest.raises(QuantizationError, match=r"self_attn\.q_proj: .* NaN"):
        method.quantize_block(model.model.layers[0], FAMILY, inputs)


def test_sequences_run_in_batches_only_where_nothing_else_differs():
    model = tiny_llama(blocks=1)
    capture = next(
        iter(
            capture_blocks(
                model,
                FAMILY,
                [[*token_sequences(5, 16), *token_sequences(3, 9), *token_sequences(1, 16)]],
            )
        )
    )
    batches = batched(capture.inputs, tokens=64)
    assert sorted(tuple(b.state.shape[:2]) for b in batches) == [(2, 16), (3, 9), (4, 16)]
    block = model.model.layers[0]
    whole = torch.cat([run_block(block, b).flatten(0, 1) for b in batches]).sum(dim=0)
    torch.testing.assert_close(
        whole, torch.cat(list(capture.outputs)).sum(dim=0), rtol=1e-4, atol=1e-4
    )
    other = BlockInput(
        capture.inputs[0].state,
        {**capture.inputs[0].context, "position_ids": torch.arange(16)[None] + 1},
    )
    assert len(batched([capture.inputs[0], other])) == 2
