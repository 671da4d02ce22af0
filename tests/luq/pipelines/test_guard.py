"""A quantizer of anyone's cannot change what it is given, nor return anything."""

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

from luq import GPTQ, RTN, quantize
from luq.decoder.blocks import BlockInput, BlockWeights
from luq.decoder.families import FAMILIES
from luq.pipelines.bank import quantize_block
from luq.pipelines.guard import quantized_block, quantized_weight
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


def test_r33_torch_is_set_as_before_after_any_quantizer(layer):
    weight, stats = layer
    random = torch.get_rng_state()
    quantized_weight(ChangesTorch(), weight, stats)
    assert torch.get_default_dtype() is torch.float32
    assert torch.equal(torch.get_rng_state(), random)
    with torch.no_grad():
        quantized_weight(ChangesTorch(), weight, stats)
        assert not torch.is_grad_enabled()


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
