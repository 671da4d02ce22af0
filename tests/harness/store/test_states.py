"""A pass resumes at the last stored position, and nothing of an earlier one stays."""

import pytest
import torch

from harness.store.states import StoredStates


@pytest.fixture
def states(store):
    return StoredStates(store, "model/calibration", blocks=4)


def inputs(value):
    return [torch.full((1, 3, 2), float(value)), torch.full((1, 5, 2), float(value))]


def test_states_come_back_in_order_and_replace_those_before(store, states):
    states.save(1, inputs(1))
    states.save(2, inputs(2))
    assert len(list((store.root / "states").iterdir())) == 1
    index, loaded = states.load(at_most=4)
    assert index == 2
    assert all(torch.equal(a, b) for a, b in zip(loaded, inputs(2), strict=True))


def test_states_behind_the_block_that_is_asked_for_are_of_no_use(states):
    states.save(3, inputs(3))
    assert states.load(at_most=2) is None
    assert states.load(at_most=3)[0] == 3


def test_states_of_another_calibration_are_not_these(store, states):
    states.save(1, inputs(1))
    other = StoredStates(store, "model/other", blocks=4)
    assert other.load(at_most=4) is None
    other.discard()
    assert states.load(at_most=4)[0] == 1
    states.discard()
    assert states.load(at_most=4) is None


def test_damaged_states_are_absent(store, states):
    states.save(1, inputs(1))
    next((store.root / "states").glob("*/*.safetensors")).write_bytes(b"")
    assert states.load(at_most=4) is None
    assert len(list((store.root / "corrupt").iterdir())) == 1
