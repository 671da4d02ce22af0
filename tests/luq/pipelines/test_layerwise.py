"""The order of the blocks in LUQ."""

import pytest

import luq
from luq.allocation.orders import ORDERS, block_order
from luq.allocation.scores import block_influence, layer_error
from luq.calibration.capture import capture_blocks
from luq.decoder.families import FAMILIES
from luq.pipelines.bank import quantize_block
from tests.luq.replicas import tiny_llama, token_sequences

FAMILY = FAMILIES["llama"]
LOW = luq.RTN(2, group=32)


@pytest.fixture(scope="module")
def model():
    return tiny_llama(blocks=5)


@pytest.fixture(scope="module")
def sequences():
    return token_sequences(6, 24)


def low_blocks(model, sequences, order, k, **options):
    method = luq.LUQ(k=k, low=LOW, order=order, clusters=8, seeds=2, **options)
    names = method.plan(model, FAMILY, sequences).blocks
    return {i for i, name in enumerate(names) if name == "low"}


def test_measured_orders_are_those_of_the_scores(model, sequences):
    captures = list(capture_blocks(model, FAMILY, [sequences]))
    entries = [
        quantize_block(model.model.layers[c.index], FAMILY, LOW, {}, "block") for c in captures
    ]
    scores = {
        "influence": [block_influence(capture) for capture in captures],
        "layer_error": [
            layer_error(model.model.layers[c.index], FAMILY, entry, c.stats[0])
            for c, entry in zip(captures, entries, strict=True)
        ],
    }
    for order, values in scores.items():
        expected = sorted(range(5), key=values.__getitem__)
        for k in (1, 2, 4):
            assert low_blocks(model, sequences, order, k) == set(expected[:k])


def test_entropy_and_its_reverse_choose_from_opposite_ends(model, sequences):
    assert low_blocks(model, sequences, "entropy", 2).isdisjoint(
        low_blocks(model, sequences, "entropy_reverse", 2)
    )


def test_orders_that_measure_nothing_need_no_calibration(model):
    assert low_blocks(model, [], "depth", 2) == {3, 4}
    assert low_blocks(model, [], "first", 2) == {0, 1}
    expected = set(block_order("random", 5, {}, seed=7)[:2])
    assert low_blocks(model, [], "random", 2, order_seed=7) == expected
    for order in ("depth", "first", "random"):
        assert not luq.LUQ(k=2, low=LOW, high=luq.RTN(), order=order).needs_calibration(5)


@pytest.mark.parametrize("order", ["entropy", "entropy_reverse", "influence", "layer_error"])
def test_measured_orders_need_calibration_where_there_is_a_choice(order):
    for k in range(6):
        method = luq.LUQ(k=k, low=LOW, high=luq.RTN(4), order=order)
        assert method.needs_calibration(5) == (0 < k < 5)


def test_methods_need_calibration_where_blocks_get_them():
    method = {k: luq.LUQ(k=k, low=luq.RTN(2), order="depth") for k in (0, 1, 2)}
    assert [method[k].needs_calibration(2) for k in (0, 1, 2)] == [True, True, False]


def test_every_order_but_damage_is_available_and_other_values_are_refused():
    for order in ORDERS:
        if order != "damage":
            luq.LUQ(k=1, order=order)
    for options, reason in (
        ({"order": "damage"}, "order is 'damage'; choose one of entropy"),
        ({"order": "entropie"}, "order is 'entropie'; choose one of entropy"),
        ({"clusters": 0}, "clusters is 0; it must be greater"),
        ({"seeds": 0}, "seeds is 0; it must be greater"),
    ):
        with pytest.raises(luq.OptionError, match=reason):
            luq.LUQ(k=1, **options)
