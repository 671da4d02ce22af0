"""Real-sized blocks pass every step in bounded memory; small ones show what is measured."""

import mmap
import time

import pytest
import torch

from bench.blocks import SAMPLING, measure, report_lines, watched
from harness.config.compose import compose
from harness.models.load import load_model, write_synthetic
from harness.stages.plan.needs import needs_of
from harness.variants.sizes import sizes_of
from tests import replicas

GIB = 2**30


def test_a_peak_is_seen_although_the_memory_is_gone_again():
    with watched() as peak:
        before = peak.host
        # Pages of its own: the allocator could give back those of an earlier test.
        held = mmap.mmap(-1, GIB // 4, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        torch.frombuffer(held, dtype=torch.uint8).fill_(1)
        time.sleep(10 * SAMPLING)
        held.close()
    with watched() as after:
        pass
    assert before == 0
    assert peak.host > after.host + 200 * 2**20


def test_a_small_model_is_measured_from_checkpoint_to_answers(tmp_path):
    load_model.cache_clear()
    measured = measure(replicas.llava(tmp_path / "model"), tmp_path / "store", "float32", 256)
    load_model.cache_clear()
    assert measured.tokens == 256
    assert measured.sizes["billm"] < measured.sizes["gptq-4"]
    assert (
        min(
            measured.capturing.seconds,
            measured.answering.seconds,
            *(p.seconds for p in measured.quantizing.values()),
        )
        > 0
    )
    text = "\n".join(report_lines("llava15_7b", measured, 3, "llava-hf/llava-1.5-7b-hf"))
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
    measured = measure(tmp_path / "model", tmp_path / "store", config.model.dtype, 1024)
    load_model.cache_clear()
    needs = needs_of([config], sizes_of(config.model.path, None))
    peak = (
        max(
            measured.loading.host,
            measured.capturing.host,
            *(p.host for p in measured.quantizing.values()),
        )
        - measured.program
    )
    assert peak < 1.15 * (needs.device + needs.host)
    assert peak < 24 * GIB
    assert measured.answering.host - measured.program < 1.15 * needs.answering + 2 * GIB
