"""A quantizer of anyone's cannot change what it is given, nor return anything."""

import random
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch

from luq import GPTQ, RTN, quantize
from luq.decoder.blocks import BlockInput, BlockWeights
from luq.decoder.families import FAMILIES
from luq.pipelines.bank import quantize_block
from luq.pipelines.guard import SETTINGS, quantized_block, quantized_weight
from luq.pipelines.synthetic import stats_of, synthetic_layer
from luq.rounding.error_feedback import inverse_factor
from luq.rounding.grids import GridWeight
from luq.types import QuantizationError
from tests.luq.replicas import tiny_llama, token_sequences

LLAMA = FAMILIES["llama"]


@dataclass(frozen=True)
class Act:
    """Round to nearest; a subclass does something else on the way."""

    method: ClassVar[str] = "act"
    needs_stats: ClassVar[bool] = True
    formats: ClassVar[tuple] = (GridWeight,)

    def __call__(self, weight, stats):
        packed = RTN(bits=4, group=8)(weight, None)
        return self.act(weight, stats, packed) or packed


class WritesWeight(Act):
    def act(self, weight, stats, packed):
        weight.data.fill_(9)


class WritesHessian(Act):
    def act(self, weight, stats, packed):
        stats.hessian.diagonal().add_(1)
        inverse_factor(stats, 0.01, weight.device)


class WritesFactors(Act):
    def act(self, weight, stats, packed):
        for factor in stats.factors.values():
            factor.upper.zero_()
        stats.factors["more"] = inverse_factor(stats, 0.5, weight.device)


class ChangesTorch(Act):
    def act(self, weight, stats, packed):
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(True)
        torch.manual_seed(1)
        torch.set_default_device("meta")
        torch.set_num_threads(torch.get_num_threads() + 1)
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.set_float32_matmul_precision("high")
        for name in ("deterministic", "benchmark", "allow_tf32"):
            setattr(torch.backends.cudnn, name, not getattr(torch.backends.cudnn, name))
        random.seed(1)
        np.random.seed(1)


class ChangesAndRaises(ChangesTorch):
    def act(self, weight, stats, packed):
        super().act(weight, stats, packed)
        raise LookupError("no kernel\nfor this shape")


@pytest.fixture
def layer():
    weight, inputs = synthetic_layer(out=8, inner=32)
    return weight, stats_of(inputs)


def test_r33_a_quantizer_that_writes_into_the_weight_leaves_the_model_as_it_was():
    model = tiny_llama(blocks=2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    quantize(model, WritesWeight(), token_sequences(2, 16)).restore()
    after = model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_r33_a_quantizer_that_writes_into_the_hessian_is_refused_and_others_get_the_true_one(layer):
    weight, stats = layer
    hessian = stats.hessian.clone()
    with pytest.raises(QuantizationError, match="act changed the Hessian"):
        quantized_weight(WritesHessian(), weight, stats)
    assert torch.equal(stats.hessian, hessian)
    assert not stats.factors


def test_factors_of_the_true_hessian_are_shared_with_the_next_weight(layer):
    weight, stats = layer
    quantized_weight(GPTQ(4), weight, stats)
    assert len(stats.factors) == 1


def test_r33_a_quantizer_of_another_package_cannot_change_the_factors_that_others_share(layer):
    weight, stats = layer
    expected = quantized_weight(GPTQ(4), weight, stats).dequantize()
    names = set(stats.factors)
    quantized_weight(WritesFactors(), weight, stats)
    assert set(stats.factors) == names
    assert torch.equal(quantized_weight(GPTQ(4), weight, stats).dequantize(), expected)


def settings():
    numpy = np.random.get_state()
    return [read() for read, _ in SETTINGS], random.getstate(), numpy[1].tolist(), numpy[2:]


@pytest.mark.parametrize("quantizer", [ChangesTorch(), ChangesAndRaises()])
def test_r33_settings_and_random_states_are_as_before_after_any_quantizer(layer, quantizer):
    weight, stats = layer
    state, before = torch.get_rng_state(), settings()
    for gradients in (True, False):
        with torch.set_grad_enabled(gradients):
            try:
                quantized_weight(quantizer, weight, stats)
            except QuantizationError:
                assert isinstance(quantizer, ChangesAndRaises)
            assert torch.is_grad_enabled() is gradients
        assert settings() == before
        assert torch.equal(torch.get_rng_state(), state)


def test_r33_every_setting_that_is_kept_is_one_that_the_test_changes(layer):
    weight, stats = layer
    before = [read() for read, _ in SETTINGS]
    try:
        ChangesTorch().act(weight, stats, None)
        assert all(read() != value for (read, _), value in zip(SETTINGS, before, strict=True))
    finally:
        for (_, put), value in zip(SETTINGS, before, strict=True):
            put(value)


class ScalesByWeight(Act):
    def act(self, weight, stats, packed):
        return replace(packed, scale=packed.scale * weight.abs().max())


def test_a_weight_that_requires_a_gradient_gives_the_same_bits_and_no_graph(layer):
    weight, stats = layer
    packed = quantized_weight(ScalesByWeight(), torch.nn.Parameter(weight.clone()), stats)
    assert not packed.scale.requires_grad
    expected = quantized_weight(ScalesByWeight(), weight, stats)
    assert torch.equal(packed.dequantize(), expected.dequantize())


@dataclass(frozen=True)
class ByBlock(Act):
    """Quantizes whole blocks; a subclass writes into one of its arguments."""

    needs_inputs: ClassVar[bool] = True

    def quantize_block(self, block, family, inputs):
        linears = {
            name: RTN(bits=4, group=8)(block.get_submodule(name).weight, None)
            for name in family.linears
        }
        return self.act(block, inputs, BlockWeights(linears))


class WritesBlock(ByBlock):
    def act(self, block, inputs, result):
        for parameter in block.parameters():
            parameter.data.zero_()
        return result


class WritesInput(ByBlock):
    def act(self, block, inputs, result):
        inputs[0].state.data.neg_()
        return result


class RaisesByBlock(ByBlock):
    def act(self, block, inputs, result):
        return {}["mlp.up_proj"]


class LeavesOut(ByBlock):
    def act(self, block, inputs, result):
        return BlockWeights(dict(list(result.linears.items())[1:]))


class OneLess(ByBlock):
    def act(self, block, inputs, result):
        other = RTN(bits=4, group=8)(torch.ones(3, 8), None)
        return BlockWeights(result.linears | {"mlp.up_proj": other})


class ChangesWhatIsNot(ByBlock):
    def act(self, block, inputs, result):
        return replace(result, changed={"no.such": torch.ones(1)})


def of_block(quantizer):
    model = tiny_llama(blocks=1)
    state = torch.randn(1, 6, model.config.hidden_size)
    block = model.model.layers[0]
    before = {name: value.clone() for name, value in block.state_dict().items()}
    quantized_block(quantizer, block, LLAMA, [BlockInput(state)])
    return all(torch.equal(block.state_dict()[name], value) for name, value in before.items())


def test_r33_a_quantizer_that_writes_into_its_block_leaves_the_model_as_it_was():
    assert of_block(WritesBlock())


@pytest.mark.parametrize(
    ("quantizer", "message"),
    [
        (WritesInput(), "inputs: act changed them"),
        (LeavesOut(), "result: act returned a BlockWeights; it must return BlockWeights with self"),
        (OneLess(), r"mlp.up_proj: act returned a weight of shape \(3, 8\); the layer has"),
        (ChangesWhatIsNot(), "no.such: act returned no such parameter"),
    ],
)
def test_r33_what_a_quantizer_does_to_inputs_or_returns_for_a_block_is_checked(quantizer, message):
    with pytest.raises(QuantizationError, match=message):
        of_block(quantizer)


class Nothing(Act):
    def __call__(self, weight, stats):
        return None


class Plain(Act):
    def __call__(self, weight, stats):
        return weight


class Transposed(Act):
    def act(self, weight, stats, packed):
        return RTN(bits=4, group=8)(weight.T, None)


class Remembers(GridWeight):
    """Keeps a part that it does not store."""

    format = "remembers"

    def dequantize(self):
        return super().dequantize() + (1 if self.events else 0)


class Refuses(GridWeight):
    format = "refuses"

    def header(self):
        return {"bits": self.bits}


class Hidden(Act):
    formats = (Remembers,)

    def act(self, weight, stats, packed):
        return Remembers(**{**vars(packed), "events": ("not stored",)})


class Partial(Act):
    formats = (Refuses,)

    def act(self, weight, stats, packed):
        return Refuses(**vars(packed))


@pytest.mark.parametrize(
    ("quantizer", "message"),
    [
        (Nothing(), "act returned nothing; it must return GridWeight"),
        (Plain(), r"act returned a tensor of shape \(.*\); it must return GridWeight"),
        (Transposed(), "act returned a weight of shape .*; the layer has"),
        (Hidden(), "act returned a weight that is another one once it is rebuilt"),
        (Partial(), "act returned a weight that cannot be rebuilt .* has the parts"),
    ],
)
def test_r18_what_is_no_packed_weight_is_refused_with_the_quantizer_and_the_layer(
    quantizer, message
):
    block = tiny_llama(blocks=1).model.layers[0]
    stats = {
        name: stats_of(torch.randn(64, linear.in_features))
        for name, linear in ((n, block.get_submodule(n)) for n in LLAMA.linears)
    }
    with pytest.raises(QuantizationError, match=rf"block 3 \S+: {message}"):
        quantize_block(block, LLAMA, quantizer, stats, "block 3")


@pytest.mark.parametrize("inputs", ["fp", "sequential"])
@pytest.mark.parametrize(
    ("quantizer", "message"),
    [
        (
            ChangesAndRaises(),
            "block 0 self_attn.q_proj: act raised LookupError: no kernel for this shape (in act of"
            f" {__name__}, line ",
        ),
        (
            RaisesByBlock(),
            f"block 0 all linears: act raised KeyError: 'mlp.up_proj' (in act of {__name__}, line ",
        ),
    ],
)
def test_r33_whatever_a_quantizer_raises_is_told_with_its_name_its_layer_and_its_line(
    quantizer, message, inputs
):
    model = tiny_llama(blocks=1)
    with pytest.raises(QuantizationError) as raised:
        quantize(model, quantizer, token_sequences(2, 16), inputs=inputs)
    assert str(raised.value).startswith(message)
    causes = [raised.value.__cause__, raised.value.__cause__.__cause__]
    assert any(isinstance(cause, LookupError) for cause in causes)


class CannotBeRead(GridWeight):
    format = "cannot_be_read"

    @property
    def shape(self):
        raise OSError("a file is gone")


class ReturnsUnreadable(Act):
    formats = (CannotBeRead,)

    def act(self, weight, stats, packed):
        return CannotBeRead(**vars(packed))


def test_r33_what_a_packed_weight_raises_while_it_is_checked_is_told_in_the_same_way(layer):
    with pytest.raises(QuantizationError, match="act raised OSError: a file is gone"):
        quantized_weight(ReturnsUnreadable(), *layer)
