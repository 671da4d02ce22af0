import pytest

from luq import GPTQ, RTN, BiLLM
from luq.allocation.plan import ranked_prefix
from luq.calibration.capture import capture_blocks
from luq.decoder.families import FAMILIES
from luq.pipelines.bank import Bank, quantize_block
from luq.types import QuantizationError
from tests.luq.replicas import tiny_llama, token_sequences

FAMILY = FAMILIES["llama"]


class Memory:
    """Storage that counts."""

    def __init__(self):
        self.entries, self.saved = {}, 0

    def load(self, block, quantizer):
        return self.entries.get((block, quantizer))

    def save(self, block, quantizer, weights):
        self.entries[block, quantizer] = weights
        self.saved += 1


@pytest.fixture
def model():
    return tiny_llama(blocks=3)


@pytest.fixture
def bank(model):
    captures = list(capture_blocks(model, FAMILY, [token_sequences(6, 32)]))
    return Bank(
        model.model.layers,
        FAMILY,
        lambda block: captures[block].stats[0],
        Memory(),
        lambda: iter(captures),
    )


def test_all_k_of_an_order_cost_two_quantizations_a_block(bank):
    low, high = BiLLM(), GPTQ(4, group=64)
    for k in range(4):
        for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2)):
            bank.plan_weights(ranked_prefix(order, k, low, high))
    assert bank.storage.saved == 2 * 3


def test_statistics_are_computed_only_where_a_method_needs_them(model):
    def refuse(block):
        raise AssertionError("called")

    bank = Bank(model.model.layers, FAMILY, refuse, Memory(), lambda: refuse(0))
    bank.plan_weights(ranked_prefix((0, 1, 2), 0, None, RTN(4)))


def test_an_error_names_the_linear(model):
    model.model.layers[2].self_attn.k_proj.weight.data[0, 0] = float("inf")
    with pytest.raises(
        QuantizationError, match=r"block 2 self_attn.k_proj: rtn: the weight holds 1 NaN"
    ):
        quantize_block(model.model.layers[2], FAMILY, RTN(4), {}, "block 2")


def test_a_plan_for_another_model_is_refused(bank):
    with pytest.raises(QuantizationError, match="the plan has 2 blocks, the model 3"):
        bank.plan_weights(ranked_prefix((0, 1), 0, None, RTN(4)))
