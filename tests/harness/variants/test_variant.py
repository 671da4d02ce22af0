import itertools

import pytest

from harness.config.compose import compose
from harness.config.schema import CalibrationConfig, EntropyConfig, MethodConfig
from harness.errors import ConfigError
from harness.store import digest
from harness.store.store import Store
from harness.variants.block_entropy import mean_entropies
from harness.variants.calibration_run import CalibrationRun
from harness.variants.variant import describe, make_variant
from luq.allocation.scores import layer_error
from luq.types import QuantizationError
from tests.harness.variants.conftest import ENTROPY, SMALL

LOW, HIGH = {"method": "billm"}, {"method": "gptq", "bits": 4}
RTN3 = {"method": "rtn", "bits": 3}


def luq(k, **options):
    return MethodConfig(
        name="luq", **{"low": LOW, "high": HIGH, "k": k, "order": "depth", **options}
    )


def uniform(high):
    return MethodConfig(name="uniform", high=high)


def test_equal_contents_have_equal_digests_whatever_they_are_called(embedded_run):
    gptq, billm = (make_variant(embedded_run, uniform(options)) for options in (HIGH, LOW))
    assert make_variant(embedded_run, luq(0)).digest == gptq.digest
    assert (
        make_variant(embedded_run, luq(8)).digest
        == make_variant(embedded_run, luq(8, order="first")).digest
        == billm.digest
    )
    assert len({make_variant(embedded_run, luq(k)).digest for k in range(9)}) == 9


def test_stored_bytes_fall_by_the_same_amount_for_every_block_that_goes_low(embedded_run):
    sizes = [make_variant(embedded_run, luq(k)).stored_bytes for k in range(9)]
    steps = {a - b for a, b in itertools.pairwise(sizes)}
    assert len(steps) == 1
    assert steps.pop() > 0


@pytest.mark.parametrize(
    "low",
    [
        "pbllm",
        "gptq2",
        "awq3",
        {"method": "sage", "clustering": "kmeans", "groups": 4, "sample": 400},
    ],
    ids=str,
)
def test_any_method_can_be_the_low_one_by_configuration_alone(narrow_run, low):
    config = (
        compose(["method=luq", "method.k=2", "method.order=depth", f"method.low={low}"]).method
        if isinstance(low, str)
        else luq(2, low=low)
    )
    mixed, alone, gptq = (
        make_variant(narrow_run, method) for method in (config, uniform(config.low), uniform(HIGH))
    )
    for block in range(4):
        source = alone if block >= 2 else gptq
        assert digest.of_block(mixed.weights[block]) == digest.of_block(source.weights[block])


def test_full_precision_counts_sixteen_bits(embedded_run):
    variant = make_variant(embedded_run, MethodConfig(name="fp"))
    assert (variant.paper_bits, variant.stored_bits) == (16, 16)
    assert not variant.weights
    assert {block.content for block in variant.blocks} == {""}


def test_luq_bits_are_the_mean_of_its_blocks_bits(embedded_run):
    low, high = (make_variant(embedded_run, uniform(options)) for options in (LOW, HIGH))
    mixed = make_variant(embedded_run, luq(4))
    assert mixed.stored_bits == pytest.approx((low.stored_bits + high.stored_bits) / 2)
    assert [block.method for block in mixed.blocks] == ["gptq-4"] * 4 + ["billm"] * 4
    assert mixed.blocks[7].stored_bits == pytest.approx(low.stored_bits)


def test_a_second_run_quantizes_nothing(embedded_run, monkeypatch):
    first = make_variant(embedded_run, luq(3, order="entropy"), ENTROPY)
    for name in (
        "harness.variants.calibration_run.capture_blocks",
        "luq.pipelines.bank.quantize_block",
        "harness.variants.block_entropy.cluster_entropy",
    ):
        monkeypatch.setattr(name, lambda *_, name=name: pytest.fail(f"{name} ran again"))
    again = CalibrationRun(embedded_run.loaded, SMALL, embedded_run.store)
    assert make_variant(again, luq(3, order="entropy"), ENTROPY).digest == first.digest


def test_r23_entropies_lie_in_range_and_fix_the_order_across_stores(embedded_run, tmp_path):
    other = CalibrationRun(embedded_run.loaded, SMALL, Store(tmp_path / "other"))
    entropies = mean_entropies(embedded_run, ENTROPY)
    assert all(0 < value <= 3 for value in entropies)
    assert mean_entropies(other, ENTROPY) == entropies
    orders = {
        make_variant(run, luq(3, order="entropy"), ENTROPY).order for run in (other, embedded_run)
    }
    assert orders == {tuple(sorted(range(8), key=lambda i: (entropies[i], i)))}


def test_r12_calibration_error_is_below_roundings(embedded_run):
    """The statistics really were captured: GPTQ's output error on them lies below plain rounding's
    in every linear.
    """
    stats = embedded_run.stats(4)
    gptq, rtn = (
        make_variant(embedded_run, uniform(options)).weights[4]
        for options in ({"method": "gptq", "bits": 3}, RTN3)
    )
    for name, layer in stats.items():
        weight = embedded_run.loaded.blocks[4].get_submodule(name).weight

        def error(packed, weight=weight, layer=layer):
            change = packed.dequantize() - weight
            return float((change @ layer.hessian * change).sum())

        assert error(gptq.linears[name]) < error(rtn.linears[name]), name
        assert layer.hessian.trace() > 0


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (luq(2, low={"bits": 4}), r"method\.low needs a `method`"),
        (luq(9), r"method\.k is 9, .* has 8 decoder blocks: choose 0 to 8"),
        (luq("half"), r"method\.k is half"),
        (luq(2, low=None), r"luq has no low method; set method\.low"),
    ],
)
def test_methods_that_cannot_be_applied_are_refused(embedded_run, method, message):
    with pytest.raises(ConfigError, match=message):
        make_variant(embedded_run, method)


def test_more_clusters_than_tokens_are_refused(embedded_run):
    few = CalibrationRun(
        embedded_run.loaded, CalibrationConfig(sequence=64, tokens=60), embedded_run.store
    )
    with pytest.raises((ConfigError, QuantizationError), match=r"entropy\.clusters=100 needs"):
        make_variant(few, luq(2, order="entropy"), EntropyConfig(clusters=100, seeds=2))


def test_a_description_has_errors_where_statistics_were_gathered_and_entropies_where_they_chose(
    narrow_run,
):
    chosen = luq(2, order="entropy")
    variant = make_variant(narrow_run, chosen, ENTROPY)
    blocks = describe(narrow_run, variant, chosen, ENTROPY)
    assert [block.entropy for block in blocks] == mean_entropies(narrow_run, ENTROPY)
    assert [block.kept for block in blocks] == [block.method for block in variant.blocks]
    for index, block in enumerate(blocks):
        assert block.output_error == pytest.approx(
            layer_error(
                narrow_run.loaded.blocks[index],
                narrow_run.loaded.family,
                variant.weights[index],
                narrow_run.stats(index),
            )
        )
    for method, has_errors in ((luq(0), True), (uniform(RTN3), False)):
        blocks = describe(narrow_run, make_variant(narrow_run, method), method)
        assert {block.entropy for block in blocks} == {None}
        assert {block.output_error is not None for block in blocks} == {has_errors}


def test_what_a_quantizer_reports_is_an_event_of_its_linear(narrow, store):
    few = CalibrationRun(narrow, CalibrationConfig(alpha=0, sequence=32, tokens=32), store)
    variant = make_variant(few, uniform(HIGH))
    assert variant.events[0].startswith(
        "block 0 self_attn.q_proj: rank 32 calibration tokens for 128 inputs"
    )
