"""Models whose blocks stay in their files: the same variants and answers as with everything in
memory, in bounded memory, resumable.
"""

import dataclasses

import pytest
import torch

from harness.config.schema import CalibrationConfig, EntropyConfig, MethodConfig
from harness.errors import ConfigError
from harness.models.load import load_model
from harness.store.states import StoredStates
from harness.store.store import Store
from harness.variants.block_entropy import block_entropies
from harness.variants.calibration_run import CalibrationRun
from harness.variants.variant import make_variant
from luq.decoder.apply import applied
from luq.decoder.packed_linear import PackedLinear
from luq.decoder.streaming import moved_to
from luq.types import QuantizationError
from tests import replicas
from tests.luq.replicas import tiny_llama

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
BUILDERS = {"llava": replicas.llava, "qwen2_5_vl": replicas.qwen_vl, "qwen2": replicas.qwen2_text}
CALIBRATION = CalibrationConfig(alpha=0, tokens=512, sequence=32)
ENTROPY = EntropyConfig(clusters=8, seeds=2)
LUQ = MethodConfig(name="luq", low={"method": "billm"}, high={"method": "gptq", "bits": 4}, k=1)
NAMES = {
    "gptq": MethodConfig(name="gptq", high={"method": "gptq"}),
    "awq": MethodConfig(name="awq", high={"method": "awq"}),
    "luq": LUQ,
}


@pytest.fixture(scope="module", params=BUILDERS)
def folder(request, tmp_path_factory):
    return BUILDERS[request.param](tmp_path_factory.mktemp(request.param))


def opened(folder, *, streamed, dtype="float32"):
    load_model.cache_clear()
    loaded = load_model("replica", str(folder), dtype, "cpu", streamed=streamed)
    load_model.cache_clear()
    return loaded


def bench(folder, store, *, streamed):
    return CalibrationRun(opened(folder, streamed=streamed), CALIBRATION, store)


def logits(loaded):
    with torch.inference_mode():
        return loaded.model(input_ids=torch.arange(10, 40)[None]).logits


def test_a_streamed_model_computes_what_the_whole_one_does_and_has_its_digest(folder):
    whole, streamed = opened(folder, streamed=False), opened(folder, streamed=True)
    assert torch.equal(logits(streamed), logits(whole))
    assert streamed.digest == whole.digest
    assert not [name for name, parameter in streamed.model.named_parameters() if parameter.is_meta]


@pytest.mark.parametrize("name", NAMES)
def test_its_variants_are_those_of_the_whole_model_bit_for_bit(folder, tmp_path, name):
    one, other = (
        bench(folder, Store(tmp_path / "a"), streamed=False),
        bench(folder, Store(tmp_path / "b"), streamed=True),
    )
    expected, found = (make_variant(run, NAMES[name], ENTROPY) for run in (one, other))
    assert found.digest == expected.digest
    before = logits(other.loaded)
    with applied(one.loaded.model, one.loaded.family, expected.weights):
        dense = logits(one.loaded)
    with applied(other.loaded.model, other.loaded.family, found.weights, packed=True):
        assert sum(isinstance(m, PackedLinear) for m in other.loaded.model.modules()) == 7 * len(
            other.loaded.blocks
        )
        assert torch.equal(logits(other.loaded), dense)
    assert torch.equal(logits(other.loaded), before)
    assert not torch.equal(dense, before)


def test_every_k_and_order_is_made_of_one_pass_and_no_statistics_are_kept(
    folder, store, monkeypatch
):
    streamed = bench(folder, store, streamed=True)
    passes = []
    real = CalibrationRun.captures
    monkeypatch.setattr(
        CalibrationRun, "captures", lambda self, first=0: passes.append(first) or real(self, first)
    )
    for k in range(4):
        for order in ("depth", "first", "layer_error"):
            make_variant(streamed, dataclasses.replace(LUQ, k=k, order=order))
    assert len(passes) == 2  # one fills the bank, one measures layer errors
    assert not (store.root / "stats").exists()
    assert not list((store.root / "states").iterdir())


def test_a_killed_pass_goes_on_at_the_block_where_it_was(folder, store, tmp_path, monkeypatch):
    from harness.variants import weights

    real, made = weights.quantize_block, []

    def quantize(block, family, quantizer, stats, label, inputs):
        if label == "block 2" and len(made) == 2:
            raise KeyboardInterrupt
        made.append(label)
        return real(block, family, quantizer, stats, label, inputs)

    monkeypatch.setattr(weights, "quantize_block", quantize)
    with pytest.raises(KeyboardInterrupt):
        make_variant(bench(folder, store, streamed=True), NAMES["gptq"])
    assert len(list((store.root / "states").iterdir())) == 1
    monkeypatch.setattr("harness.variants.weights.quantize_block", real)
    again = bench(folder, store, streamed=True)
    ran = []
    for index, block in enumerate(again.loaded.blocks):
        block.register_forward_hook(lambda *_, index=index: ran.append(index))
    resumed = make_variant(again, NAMES["gptq"])
    assert set(ran) == {2}
    fresh = bench(folder, Store(tmp_path / "fresh"), streamed=True)
    assert resumed.digest == make_variant(fresh, NAMES["gptq"]).digest
    assert not list((store.root / "states").iterdir())


def test_a_damaged_state_is_made_again(folder, store):
    streamed = bench(folder, store, streamed=True)
    states = StoredStates(store, streamed.origin, len(streamed.loaded.blocks))
    states.save(1, [torch.zeros(1, 4, 64)])
    (path,) = (store.root / "states").glob("*/*.safetensors")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert states.load(1) is None
    assert (store.root / "corrupt").exists()


def test_the_type_of_the_files_is_asked_for_by_name(tmp_path):
    folder = replicas.llava(tmp_path / "half", dtype=torch.float16)
    with pytest.raises(ConfigError, match=r"which hold float16: set model\.dtype=float16"):
        opened(folder, streamed=True, dtype="bfloat16")


def test_a_model_without_safetensors_is_refused(folder, tmp_path):
    (tmp_path / "m").mkdir()
    for file in folder.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / "m" / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ConfigError, match="names files that are not there"):
        opened(tmp_path / "m", streamed=True)


def test_a_streamed_model_answers_from_the_command_line(run, tmp_path):
    folder = replicas.llava(tmp_path / "model")
    options = [
        f"model.path={folder}",
        "model.name=replica",
        "calibration.tokens=512",
        "calibration.sequence=32",
        "calibration=text",
        "suite=mini_gqa",
        "limit=8",
        "method=luq",
        "method.k=1",
        "entropy.clusters=8",
        "entropy.seeds=2",
    ]
    code, text = run(*options, "model.memory=streamed", f"store={tmp_path / 'a'}")
    assert code == 0, text
    assert run(*options, f"store={tmp_path / 'b'}")[0] == 0
    tables = [(tmp_path / name / "results.csv").read_text() for name in "ab"]
    assert tables[0] == tables[1]


@CUDA
def test_a_block_visits_the_device_and_ends_where_it_began_even_when_the_work_fails():
    block, device = tiny_llama().model.layers[0], torch.device("cuda")
    before = {
        name: (parameter.data_ptr(), parameter.device)
        for name, parameter in block.named_parameters()
    }

    def work():
        with moved_to(block, device):
            assert all(parameter.is_cuda for parameter in block.parameters())
            raise QuantizationError("failed")

    with pytest.raises(QuantizationError):
        work()
    assert {
        name: (parameter.data_ptr(), parameter.device)
        for name, parameter in block.named_parameters()
    } == before


@CUDA
def test_a_streamed_model_on_a_gpu_gives_the_whole_ones_logits_with_its_blocks_elsewhere(folder):
    load_model.cache_clear()
    whole, streamed = (
        load_model("r", str(folder), "float32", "cuda", streamed=s) for s in (False, True)
    )
    ids = torch.arange(10, 40, device="cuda")[None]
    assert all(parameter.device.type == "cpu" for parameter in streamed.blocks.parameters())
    with torch.inference_mode():
        assert torch.equal(whole.model(input_ids=ids).logits, streamed.model(input_ids=ids).logits)
    load_model.cache_clear()


@CUDA
@pytest.mark.parametrize("at", ["output", "input_norm", "output_norm"])
def test_a_streamed_model_on_a_gpu_has_the_whole_ones_entropies(at, tmp_path):
    folder = replicas.llava(tmp_path / "model")
    load_model.cache_clear()
    whole, streamed = (
        block_entropies(
            CalibrationRun(
                load_model("r", str(folder), "float32", "cuda", streamed=memory == "streamed"),
                CALIBRATION,
                Store(tmp_path / memory),
            ),
            dataclasses.replace(ENTROPY, at=at),
        )
        for memory in ("full", "streamed")
    )
    load_model.cache_clear()
    assert streamed == whole


def test_a_streamed_models_export_is_the_whole_ones(tmp_path):
    from harness.variants.export import export_model

    folder = replicas.llava(tmp_path / "model")
    found = {}
    for streamed in (False, True):
        made = bench(folder, Store(tmp_path / f"store{streamed}"), streamed=streamed)
        out = tmp_path / f"packed{streamed}"
        export_model(out, made.loaded, make_variant(made, LUQ, ENTROPY), "luq")
        found[streamed] = (out / "tensors.safetensors").read_bytes()
    assert found[True] == found[False]
