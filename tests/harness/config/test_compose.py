"""Jobs that share their files are what Hydra itself composes of each."""

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from harness.config import compose
from harness.config.compose import COMPOSE_ERRORS, register_schema
from harness.paths import CONF

CASES = [
    [],
    ["method=luq", "method.k=2", "limit=8", "store=elsewhere"],
    ["method=luq", "method.order=random", "method.order_seed=7", "calibration.alpha=0.25"],
    ["method.k=all", "calibration=text", "suite=mini_gqa"],
    ["model=mini", "model.name=${model.path}", "limit=null"],
    ["limit=4", "limit=8"],
    ["model.batch_size=5", "batch_size=7"],
    ["method=rtn4", "+method.high.group=64"],
    ["method.high={method: gptq, bits: 4}", "method.high.bits=3"],
    ["method=custom", "method.high=gptq3", "+method.high.group=64"],
    ["method=allocated", "method.candidates=[gptq2,gptq4]"],
    ["suite.tasks=[mini_gqa,mini_pope]", "limit=4"],
    ["+sweep=first_look", "limit=4"],
    ["hydra.job.name=mine", "limit=4"],
    ["~limit"],
    # What cannot be:
    ["no_such_key=1"],
    ["method.no_such_key=1", "limit=4"],
    ["limit=many"],
    ["method=no_such_method", "limit=4"],
    ["limit"],
]


@pytest.fixture
def hydra_started():
    GlobalHydra.instance().clear()
    register_schema()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def outcome(call):
    try:
        return OmegaConf.to_yaml(call())
    except COMPOSE_ERRORS as error:
        return type(error), str(error), str(error.__cause__)


@pytest.mark.parametrize("overrides", CASES, ids=" ".join)
def test_every_job_is_what_hydra_composes_of_it(hydra_started, overrides):
    expected = outcome(lambda: hydra.compose("config", list(overrides)))
    for _ in range(2):  # the files are shared with the job before
        assert outcome(lambda: compose._raw(tuple(overrides), "")) == expected


def test_a_job_cannot_change_the_files_that_the_next_one_shares(hydra_started):
    first = compose._raw(("method=luq", "limit=4"), "")
    before = OmegaConf.to_yaml(first)
    first.method.k = 99
    first.limit = 5
    assert OmegaConf.to_yaml(compose._raw(("method=luq", "limit=4"), "")) == before
