import itertools

import pytest

from luq import GPTQ, BiLLM
from luq.allocation.orders import MEASURED, ORDERS, block_order
from luq.allocation.plan import Plan, ranked_prefix

ENTROPIES = [3.0, 1.0, 2.0, 1.0]


def order(name, seed=0):
    return block_order(name, 4, dict.fromkeys(MEASURED, lambda: ENTROPIES), seed=seed)


def test_entropy_orders_ascend_or_descend_and_ties_go_to_the_smaller_block():
    assert order("entropy") == (1, 3, 2, 0)
    assert order("entropy_reverse") == (0, 2, 1, 3)


def test_depth_first_and_random_orders_never_ask_for_entropies():
    assert block_order("depth", 3, {}) == (2, 1, 0)
    assert block_order("first", 3, {}) == (0, 1, 2)
    assert sorted(block_order("random", 9, {}, seed=1)) == list(range(9))


def test_random_orders_are_fixed_by_their_seed():
    assert order("random", 1) == order("random", 1)
    assert len({order("random", seed) for seed in range(12)}) > 4


@pytest.mark.parametrize("name", ORDERS)
def test_every_order_names_every_block_once(name):
    assert sorted(order(name)) == [0, 1, 2, 3]


def test_unknown_orders_and_wrong_counts_are_refused():
    with pytest.raises(ValueError, match="choose one of entropy"):
        order("entropie")
    with pytest.raises(ValueError, match="4 values of entropy for 5 blocks"):
        block_order("entropy", 5, {"entropy": lambda: ENTROPIES})


def test_k_blocks_of_the_order_are_low_and_each_step_changes_one_block():
    low, high = BiLLM(), GPTQ(4)
    plans = [ranked_prefix((1, 3, 2, 0), k, low, high) for k in range(5)]
    assert plans[0].blocks == ("high",) * 4
    assert plans[2].blocks == ("high", "low", "high", "low")
    assert plans[4].blocks == ("low",) * 4
    for before, after in itertools.pairwise(plans):
        assert sum(a != b for a, b in zip(before.blocks, after.blocks, strict=True)) == 1


@pytest.mark.parametrize("k", [-1, 5])
def test_k_outside_the_blocks_is_refused(k):
    with pytest.raises(
        ValueError, match=f"k is {k}, the model has 4 decoder blocks: choose 0 to 4"
    ):
        ranked_prefix((0, 1, 2, 3), k, BiLLM(), GPTQ(4))


def test_without_a_method_a_block_stays_in_full_precision():
    assert ranked_prefix((0, 1), 1, BiLLM(), None).blocks == ("low", "none")
    with pytest.raises(ValueError, match="which it does not define"):
        Plan(("high",), {})
