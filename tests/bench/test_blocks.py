"""Real-sized blocks go the whole way in bounded memory; small ones show that the measurement
measures.
"""

import pytest
import torch

from bench.blocks import measure, told, watched
from harness.cli.main import compose
from harness.models.load import load_model, write_synthetic
from harness.stages.plan import needs_of, sizes_of
from tests import replicas

GIB = 2**30


def test_a_peak_is_seen_although_the_memory_is_gone_again():
    with watched() as peak:
        before = peak.host
        held = torch.ones(64 * 2**20)  # 256 MiB
        held.add_(1)
        del held
    with watched() as after:
        pass
    assert before == 0
    assert peak.host > after.host + 200 * 2**20


def test_a_small_model_goes_the_whole_way_and_is_told(tmp_path):
    load_model.cache_clear()
    found = measure(replicas.llava(tmp_path / "model"), tmp_path / "store", "float32", 256)
    load_model.cache_clear()
    assert found.tokens == 256
    assert found.sizes["billm"] < found.sizes["gptq-4"]
    assert (
        min(
            found.capturing.seconds,
            found.answering.seconds,
            *(p.seconds for p in found.quantizing.values()),
        )
        > 0
    )
    text = "\n".join(told("llava15_7b", found, 3, "llava-hf/llava-1.5-7b-hf"))
    assert "3 of 32 blocks" in text
    assert "extrapolated to 32 blocks and 262,144 tokens" in text


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", ["llava15_7b", "qwen25vl_7b"])
def test_a_real_sized_block_fits_what_the_plan_says(tmp_path, name):
    """Needs 20 GiB of memory, 6 GiB of disk, and some ten minutes on two cores."""
    config = compose(
        [f"model={name}", "method=luq", "method.k=1", f"calibration.tokens={1024}", "batch_size=1"]
    )
    write_synthetic(tmp_path / "model", config.model.path, config.model.dtype, 1)
    load_model.cache_clear()
    found = measure(tmp_path / "model", tmp_path / "store", config.model.dtype, 1024)
    load_model.cache_clear()
    needs = needs_of([config], sizes_of(config.model.path, None))
    peak = (
        max(found.loading.host, found.capturing.host, *(p.host for p in found.quantizing.values()))
        - found.program
    )
    assert peak < 1.15 * (needs.device + needs.host)
    assert peak < 24 * GIB
    assert found.answering.host - found.program < 1.15 * needs.answering + 2 * GIB
