"""What a cell records of its request."""

import json

from harness.config.schema import Config, MethodConfig, ModelConfig
from harness.stages.base import Job
from harness.stages.cells import _request
from harness.variants.quantizers import build
from luq import GPTQ, RTN

LOW = {"method": "billm"}
HIGH = {"method": "gptq", "bits": 4, "group": 64}


def request(**method):
    config = Config(model=ModelConfig(name="m", path="p"), method=MethodConfig(name="x", **method))
    return json.loads(json.dumps(_request(Job(config, (), "command"))))


def test_quantizers_are_recorded_as_data_with_their_names():
    recorded = request(low=LOW, high=HIGH, k=2)
    assert (recorded["low"], recorded["high"]) == ("billm", "gptq-4")
    assert build(recorded["high_quantizer"], "recorded") == GPTQ(4, group=64)
    assert recorded["low_quantizer"].items() >= {"method": "billm", "variant": "code"}.items()
    assert recorded["candidates"] == []


def test_full_precision_is_recorded_as_no_quantizer():
    recorded = request()
    assert (recorded["low"], recorded["high"]) == ("none", "none")
    assert recorded["low_quantizer"] is recorded["high_quantizer"] is None


def test_candidates_are_recorded_in_their_order():
    recorded = request(candidates=[HIGH, {"method": "rtn", "bits": 2}], budget_bits=3.0)
    built = [build(options, "recorded") for options in recorded["candidates"]]
    assert built == [GPTQ(4, group=64), RTN(2)]
    assert recorded["high"] == "gptq-4 or rtn-2"
