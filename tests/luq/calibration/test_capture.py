import pytest
import torch

from luq.calibration.capture import capture_blocks
from luq.decoder.families import FAMILIES
from luq.types import QuantizationError
from tests.luq.replicas import tiny_llama, token_sequences


def test_hessians_equal_a_direct_capture_in_one_whole_forward_pass():
    model = tiny_llama()
    sequences = token_sequences(3, 17)
    name = "self_attn.o_proj"
    seen = []
    handle = model.model.layers[1].self_attn.o_proj.register_forward_pre_hook(
        lambda m, args: seen.append(args[0].detach()[0])
    )
    with torch.no_grad():
        for sequence in sequences:
            model(**sequence)
    handle.remove()
    direct = torch.cat(seen)
    captures = list(capture_blocks(model, FAMILIES["llama"], [sequences]))
    stats = captures[1].stats[0][name]
    assert stats.tokens == len(direct) == 3 * 17
    torch.testing.assert_close(stats.hessian, direct.T @ direct / len(direct), rtol=1e-4, atol=1e-6)


def test_outputs_are_the_models_hidden_states():
    model = tiny_llama()
    (sequence,) = token_sequences(1, 9)
    with torch.no_grad():
        hidden = model(**sequence, output_hidden_states=True).hidden_states
    captures = [
        [o.clone() for o in c.outputs]
        for c in capture_blocks(model, FAMILIES["llama"], [[sequence]])
    ]
    torch.testing.assert_close(
        captures[0][0], hidden[1][0]
    )  # the last entry of hidden_states is normed and no block's output


def test_linears_with_a_common_input_share_their_statistics_and_hooks_are_gone_afterwards():
    model = tiny_llama()
    first, *_ = capture_blocks(model, FAMILIES["llama"], [token_sequences(1, 5)])
    assert first.stats[0]["self_attn.q_proj"] is first.stats[0]["self_attn.v_proj"]
    assert set(first.stats[0]) == set(FAMILIES["llama"].linears)
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.modules())


def test_without_hessians_inputs_and_outputs_are_the_same():
    model, sequences = tiny_llama(), token_sequences(2, 9)
    full, plain = (
        list(capture_blocks(model, FAMILIES["llama"], [sequences], hessians=hessians))
        for hessians in (True, False)
    )
    for first, second in zip(full, plain, strict=True):
        assert first.stats[0]
        assert second.stats == [{}]
        for one, other in zip(first.outputs, second.outputs, strict=True):
            assert torch.equal(one, other)
        for one, other in zip(first.inputs, second.inputs, strict=True):
            assert torch.equal(one.state, other.state)


def test_r9_a_nan_activation_names_its_block_and_sequence():
    model = tiny_llama()
    model.model.layers[1].mlp.down_proj.weight.data[0, 0] = float("nan")
    with pytest.raises(
        QuantizationError,
        match="block 1 gives NaN or infinite activations on calibration sequence 0",
    ):
        list(capture_blocks(model, FAMILIES["llama"], [token_sequences(2, 5)]))


def test_no_sequences_are_refused():
    with pytest.raises(QuantizationError, match="no sequences"):
        list(capture_blocks(tiny_llama(), FAMILIES["llama"], []))


def test_r12_a_linear_that_is_never_reached_is_named():
    model = tiny_llama()
    model.model.layers[0].mlp.forward = lambda x: (
        x
    )  # the block works, its MLP's linears see nothing
    with pytest.raises(QuantizationError, match=r"block 0 mlp\.gate_proj was never reached"):
        list(capture_blocks(model, FAMILIES["llama"], [token_sequences(1, 5)]))
