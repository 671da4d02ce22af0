"""The measures of agreement, on variants whose answer is known."""

import pytest
import torch

from harness.config.schema import CalibrationConfig, MethodConfig
from harness.store.store import Store
from harness.variants.calibration_run import CalibrationRun
from harness.variants.variant import make_variant
from luq.decoder.blocks import BlockWeights
from tools.agreement import output_error, same_share


@pytest.fixture(scope="module")
def bench(embedded, tmp_path_factory):
    return CalibrationRun(
        embedded,
        CalibrationConfig(sequence=64, tokens=300),
        Store(tmp_path_factory.mktemp("agreement")),
    )


def test_equal_weights_agree_fully_and_moved_scales_say_nothing(bench):
    block = bench.loaded.blocks[0]
    four, three = (
        make_variant(bench, MethodConfig(name="x", high={"method": "rtn", "bits": bits})).weights[0]
        for bits in (4, 3)
    )
    assert same_share(four, four, block) == 1
    assert same_share(four, three, block) < 0.5
    assert (
        same_share(
            four, BlockWeights(four.linears, {"input_layernorm.weight": torch.ones(256)}), block
        )
        is None
    )


def test_output_error_is_zero_for_the_weights_themselves_and_grows_as_bits_fall(bench):
    block, capture = bench.loaded.blocks[0], next(bench.captures())
    errors = [
        output_error(
            block, make_variant(bench, MethodConfig(name="x", high=high)).weights[0], capture
        )
        for high in ({"method": "none"}, {"method": "rtn", "bits": 4}, {"method": "rtn", "bits": 2})
    ]
    assert errors[0] == 0 < errors[1] < errors[2]
