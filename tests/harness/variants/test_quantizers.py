import json

import pytest

from harness.config.compose import compose
from harness.config.schema import MethodConfig
from harness.errors import ConfigError
from harness.stages.run import check_installed
from harness.variants.quantizers import (
    build,
    quantizer_name,
    quantizer_record,
    quantizers_of,
    uses_calibration,
)
from luq import GPTQ, RTN, BiLLM

LOW, HIGH = {"method": "billm"}, {"method": "gptq", "bits": 4}


def test_options_become_a_quantizer_and_none_is_full_precision():
    assert build(HIGH, "method.high") == GPTQ(4)
    assert build(None, "method.high") is None
    assert build({}, "method.high") is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bits": 4}, r"method\.low needs a `method`, .* it has \['bits'\]"),
        ({"method": "gptq", "bits": 77}, r"method\.low: "),
        ({"method": "gptq", "bit": 4}, r"method\.low: .*bit"),
        ({"method": "unheard"}, r"method\.low: .*unheard"),
    ],
)
def test_a_quantizer_that_cannot_be_built_is_refused_by_its_key(options, message):
    with pytest.raises(ConfigError, match=message):
        build(options, "method.low")


def test_all_quantizers_of_a_method_come_low_first_and_candidates_last():
    method = MethodConfig(name="x", low=LOW, high=HIGH, candidates=[{"method": "rtn", "bits": 2}])
    assert quantizers_of(method) == [BiLLM(), GPTQ(4), RTN(2)]
    method.candidates = [None, {"method": "rtn", "bits": 77}]
    with pytest.raises(ConfigError, match=r"method\.candidates\[1\]: "):
        quantizers_of(method)


@pytest.mark.parametrize(
    ("options", "uses"),
    [
        ({"high": {"method": "rtn", "bits": 4}}, False),
        ({}, False),
        ({"high": HIGH}, True),
        ({"low": {"method": "rtn"}, "high": {"method": "rtn"}}, True),  # which blocks are low
        ({"candidates": [{"method": "rtn"}]}, True),
    ],
)
def test_calibration_data_is_used_by_weights_or_by_the_choice_of_blocks(options, uses):
    assert uses_calibration(MethodConfig(name="x", **options)) == uses


def test_names_are_short_and_records_are_complete():
    assert [quantizer_name(options) for options in (LOW, HIGH, None)] == [
        "billm",
        "gptq-4",
        "none",
    ]
    assert quantizer_name({"method": "external", "worker": "autoawq", "bits": 3}) == "autoawq-3"
    grouped = {**HIGH, "group": 64}
    assert quantizer_name(grouped) == quantizer_name(HIGH)
    records = [quantizer_record(options) for options in (HIGH, grouped)]
    assert records[0] != records[1]
    assert records[0] == {**records[1], "group": 128}
    assert quantizer_record(None) is None


def test_a_record_builds_the_same_quantizer_again_after_json():
    for options in (LOW, HIGH, {"method": "sage", "groups": 4}):
        record = json.loads(json.dumps(quantizer_record(options)))
        assert build(record, "record") == build(options, "options")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("method.high={method: gptq, bits: x}", "method.high: gptq: bits is 'x'; it must be a"),
        ("method.high={method: gptq, damping: -1}", "method.high: gptq: damping is -1; it must be"),
        ("method.high={method: billm, block: 0}", "method.high: billm: block is 0"),
    ],
)
def test_options_that_cannot_be_are_refused_before_any_work_begins(override, message):
    config = compose(["method=custom", "method.name=q", override])
    with pytest.raises(ConfigError, match=message):
        check_installed(config)
