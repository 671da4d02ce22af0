import itertools

import pytest
import torch

from harness.cli.main import compose
from harness.config.schema import CalibrationConfig, EntropyConfig, MethodConfig
from harness.data.sequences import collect
from harness.errors import ConfigError
from harness.models.load import load_model
from harness.store import digest
from harness.store.store import Store
from harness.variants.block_entropy import mean_entropies
from harness.variants.calibration_run import Workbench
from luq.calibration.capture import capture_blocks
from luq.pipelines import bank
from luq.quantizers.registry import BiLLM
from luq.types import QuantizationError

LOW, HIGH = {"method": "billm"}, {"method": "gptq", "bits": 4}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """One store for the module: what one test quantized, the next finds."""
    return Store(tmp_path_factory.mktemp("variants"))


@pytest.fixture
def workbench(embedded, store):
    return Workbench(
        embedded,
        CalibrationConfig(sequence=64, tokens=600),
        EntropyConfig(clusters=8, seeds=2),
        store,
    )


@pytest.fixture(scope="module")
def narrow(narrow_model, store):
    loaded = load_model.__wrapped__("narrow", str(narrow_model), "float32", "cpu")
    return Workbench(
        loaded,
        CalibrationConfig(sequence=64, tokens=600),
        EntropyConfig(clusters=8, seeds=2),
        store,
    )


def luq(k, **options):
    return MethodConfig(
        name="luq", **{"low": LOW, "high": HIGH, "k": k, "order": "depth", **options}
    )


def test_equal_contents_have_equal_digests_whatever_they_are_called(workbench):
    gptq = workbench.variant(MethodConfig(name="gptq4", high=HIGH))
    billm = workbench.variant(MethodConfig(name="billm", high=LOW))
    assert workbench.variant(luq(0)).digest == gptq.digest
    assert (
        workbench.variant(luq(8)).digest
        == workbench.variant(luq(8, order="first")).digest
        == billm.digest
    )
    assert len({workbench.variant(luq(k)).digest for k in range(9)}) == 9


def test_stored_bytes_fall_by_the_same_amount_for_every_block_that_goes_low(workbench):
    sizes = [workbench.variant(luq(k)).stored_bytes for k in range(9)]
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
def test_any_method_can_be_the_low_one_by_configuration_alone(narrow, low):
    config = (
        compose(["method=luq", "method.k=2", "method.order=depth", f"method.low={low}"]).method
        if isinstance(low, str)
        else luq(2, low=low)
    )
    mixed, alone = (
        narrow.variant(config),
        narrow.variant(MethodConfig(name="alone", high=config.low)),
    )
    gptq = narrow.variant(MethodConfig(name="gptq4", high=HIGH))
    for block in range(4):
        source = alone if block >= 2 else gptq
        assert digest.of_block(mixed.weights[block]) == digest.of_block(source.weights[block])


def test_full_precision_counts_sixteen_bits(workbench):
    variant = workbench.variant(MethodConfig(name="fp"))
    assert (variant.paper_bits, variant.stored_bits) == (16, 16)
    assert not variant.weights


def test_luq_bits_are_the_mean_of_its_blocks_bits(workbench):
    low, high = (workbench.variant(MethodConfig(name="x", high=m)) for m in (LOW, HIGH))
    assert workbench.variant(luq(4)).stored_bits == pytest.approx(
        (low.stored_bits + high.stored_bits) / 2
    )


def test_a_second_workbench_quantizes_nothing(workbench, embedded, store, monkeypatch):
    first = workbench.variant(luq(3, order="entropy"))
    for name in (
        "harness.variants.calibration_run.capture_blocks",
        "luq.pipelines.bank.quantize_block",
        "harness.variants.block_entropy.cluster_entropy",
    ):
        monkeypatch.setattr(name, lambda *_, name=name: pytest.fail(f"{name} ran again"))
    again = Workbench(
        embedded,
        CalibrationConfig(sequence=64, tokens=600),
        EntropyConfig(clusters=8, seeds=2),
        store,
    )
    assert again.variant(luq(3, order="entropy")).digest == first.digest


def test_r23_entropies_lie_in_range_and_fix_the_order_across_stores(workbench, embedded, tmp_path):
    assert all(0 < value <= 3 for value in mean_entropies(workbench))
    other = Workbench(
        embedded,
        CalibrationConfig(sequence=64, tokens=600),
        EntropyConfig(clusters=8, seeds=2),
        Store(tmp_path / "other"),
    )
    assert mean_entropies(other) == mean_entropies(workbench)
    assert (
        other.variant(luq(3, order="entropy")).order
        == workbench.variant(luq(3, order="entropy")).order
    )


def test_r6_a_damaged_bank_entry_is_made_again_with_the_same_content(workbench, store):
    before = workbench.variant(luq(2)).digest
    victim = store.path("bank", workbench.entries.key(7, BiLLM())) / "tensors.safetensors"
    data = bytearray(victim.read_bytes())
    data[-1] ^= 1
    victim.write_bytes(data)
    assert workbench.variant(luq(2)).digest == before
    assert list((store.root / "corrupt").iterdir())


def test_r12_calibration_error_is_below_roundings(workbench, embedded):
    """The statistics really were captured:

    GPTQ's output error on them lies below plain rounding's in every linear.
    """
    stats = workbench.stats(4)
    gptq = workbench.variant(
        MethodConfig(name="gptq3", high={"method": "gptq", "bits": 3})
    ).weights[4]
    rtn = workbench.variant(MethodConfig(name="rtn3", high={"method": "rtn", "bits": 3})).weights[4]
    for name, layer in stats.items():
        weight = embedded.blocks[4].get_submodule(name).weight

        def error(packed, weight=weight, layer=layer):
            change = packed.dequantize() - weight
            return float((change @ layer.hessian * change).sum())

        assert error(gptq.linears[name]) < error(rtn.linears[name]), name
        assert layer.hessian.trace() > 0


def test_methods_without_a_name_or_with_too_few_tokens_are_refused(workbench, embedded, store):
    with pytest.raises(ConfigError, match=r"method.low needs a `method`"):
        workbench.variant(luq(2, low={"bits": 4}))
    few = Workbench(
        embedded,
        CalibrationConfig(sequence=64, tokens=60),
        EntropyConfig(clusters=100, seeds=2),
        store,
    )
    with pytest.raises((ConfigError, QuantizationError), match=r"entropy\.clusters=100 needs"):
        few.variant(luq(2, order="entropy"))


def test_statistics_of_every_mix_equal_a_direct_capture_and_each_source_is_captured_once(
    embedded, tmp_path, monkeypatch
):
    captured = []
    monkeypatch.setattr(
        "harness.variants.calibration_run.capture_blocks",
        lambda *a: captured.append(sum(map(len, a[2]))) or capture_blocks(*a),
    )
    store = Store(tmp_path / "runs")
    for alpha in (0.0, 0.25, 0.5, 0.75, 1.0):
        config = CalibrationConfig(alpha=alpha, tokens=512, sequence=64)
        bench = Workbench(embedded, config, EntropyConfig(), store)
        direct = list(
            capture_blocks(embedded.model, embedded.family, [collect(embedded, config).sequences])
        )
        for block in (0, 7):
            for name, layer in direct[block].stats[0].items():
                found = bench.stats(block)[name]
                assert found.tokens == layer.tokens
                torch.testing.assert_close(found.hessian, layer.hessian, rtol=1e-4, atol=1e-6)
    text, images = (
        len(collect(embedded, CalibrationConfig(alpha=a, tokens=512, sequence=64)).sequences)
        for a in (0.0, 1.0)
    )
    assert sum(captured) == text + images  # one capture of each source for five alphas


def test_every_k_and_order_together_cost_two_quantizations_of_each_block(
    narrow, tmp_path, monkeypatch
):
    made, real = [], bank.quantize_block
    monkeypatch.setattr(bank, "quantize_block", lambda *a: made.append(1) or real(*a))
    bench = Workbench(
        narrow.loaded,
        CalibrationConfig(sequence=32, tokens=256),
        EntropyConfig(),
        Store(tmp_path / "empty"),
    )
    digests = {
        bench.variant(luq(k, order=order)).digest
        for order in ("depth", "first", "random")
        for k in range(5)
    }
    assert len(made) == 2 * 4
    assert len(digests) > 6
