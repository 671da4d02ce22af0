"""Workers in processes of their own, played by small scripts."""

import ast
import hashlib
import os
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch

from harness.config.schema import CalibrationConfig, MethodConfig, WorkersConfig
from harness.errors import ConfigError
from harness.store.store import Store
from harness.variants.calibration_run import CalibrationRun
from harness.variants.export import export_model
from harness.variants.external.backend import SCRIPTS, WORKERS, External
from harness.variants.variant import make_variant
from luq.quantizers.registry import build_quantizer
from luq.types import OptionError, QuantizationError, stored_bits

HEAD = """
import json, sys, time
from pathlib import Path
import torch
from safetensors.torch import load_file, save_file
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
model = load_file(Path(options["--model"]) / "model.safetensors")
calibration = load_file(options["--calibration"])
out = Path(options["--out"])
weights = {n: t.half().float() for n, t in model.items() if "_proj" in n}
stored = {n.removesuffix(".weight"): t.numel() // 2 for n, t in weights.items()}
first = "model.layers.0.mlp.up_proj.weight"
tokens = sum(t.numel() for t in calibration.values())
"""
TAIL = """
save_file(weights, out / "weights.safetensors")
report = {"library": "fake 1.0", "tokens": tokens, "stored_bytes": stored}
(out / "report.json").write_text(json.dumps(report))
"""


@pytest.fixture
def worker(tmp_path):
    def write(middle="", tail=TAIL):
        path = tmp_path / "worker.py"
        path.write_text(HEAD + textwrap.dedent(middle) + tail)
        return f"{sys.executable} {path}"

    return write


@pytest.fixture
def run(embedded, tmp_path):
    calibration = CalibrationConfig(sequence=64, tokens=200)
    return CalibrationRun(embedded, calibration, Store(tmp_path / "runs"))


WORKERS_CONFIG = WorkersConfig(timeout=60)


def variant_of(run, method, workers=WORKERS_CONFIG):
    return make_variant(run, method, workers=workers)


def method(command, **options):
    return MethodConfig(name="external", high={"method": "external", "command": command, **options})


def test_a_worker_returns_weights_changed_parameters_and_its_own_stored_bytes(
    worker, run, embedded
):
    command = worker("""
        norm = "model.layers.2.input_layernorm.weight"
        weights[norm] = model[norm] * 2
        same = "model.layers.3.input_layernorm.weight"
        weights[same] = model[same]
    """)
    variant = variant_of(run, method(command))
    assert variant.stored_bits == 4
    assert stored_bits(variant.weights[0].linears["mlp.up_proj"]) == 4
    weight = embedded.blocks[5].mlp.down_proj.weight
    assert torch.equal(
        variant.weights[5].linears["mlp.down_proj"].dequantize(), weight.half().float()
    )
    assert torch.equal(
        variant.weights[2].changed["input_layernorm.weight"],
        embedded.blocks[2].input_layernorm.weight * 2,
    )
    assert not variant.weights[3].changed


def test_a_worker_is_asked_once(worker, run):
    command = worker()
    first = variant_of(run, method(command))
    Path(command.split()[1]).write_text("raise SystemExit('asked again')")
    assert variant_of(run, method(command)).digest == first.digest
    with pytest.raises(QuantizationError, match="asked again"):
        variant_of(run, method(command, bits=3))


@pytest.mark.parametrize(
    ("middle", "said"),
    [
        (
            "raise SystemExit('no luck today')",
            r"ended with exit code 1; its log is .*\.log\s+no luck today",
        ),
        (
            "weights[first][3, 4] = float('nan')",
            r"returned model\.layers\.0\.mlp\.up_proj\.weight, which holds 1 NaN",
        ),
        (
            "weights[first] = weights[first][:, :8].contiguous()",
            r"weight as \(512, 8\) torch\.float32; the model has \(512, 256\)",
        ),
        ("weights[first] = weights[first].int()", r"as \(512, 256\) torch\.int32"),
        ("del weights[first]", r"returned no weight for model\.layers\.0\.mlp\.up_proj"),
        (
            "del stored['model.layers.1.mlp.up_proj']",
            r"returned no stored bytes for model\.layers\.1\.mlp\.up_proj",
        ),
        ("stored['model.layers.1.mlp.up_proj'] = 0", "takes 0 bytes, which cannot be"),
        (
            "weights['model.layers.0.extra'] = torch.ones(2)",
            r"model\.layers\.0\.extra, which the model does not have",
        ),
        (
            "weights['lm_head.weight'] = torch.ones(2)",
            r"lm_head\.weight, which belongs to no decoder block",
        ),
        ("tokens = 'many'", "wrote no readable result"),
        ("raise SystemExit(0)", "wrote no readable result"),
    ],
)
def test_a_bad_worker_is_refused_by_what_it_did(worker, run, middle, said):
    with pytest.raises(QuantizationError, match=said):
        variant_of(run, method(worker(middle)))
    assert not list((run.store.root / "bank").glob("*"))


def test_r19_a_pickle_is_never_opened(worker, run, tmp_path):
    canary = tmp_path / "canary"
    command = worker(
        tail=f"""
import pickle
class Bomb:
    def __reduce__(self):
        return (open, ({str(canary)!r}, "w"))
(out / "weights.safetensors").write_bytes(pickle.dumps(Bomb()))
report = {{"library": "fake", "tokens": 1, "stored_bytes": stored}}
(out / "report.json").write_text(json.dumps(report))
"""
    )
    with pytest.raises(QuantizationError, match="wrote no readable result"):
        variant_of(run, method(command))
    assert not canary.exists()


def test_a_worker_that_hangs_is_stopped_with_everything_it_started(worker, run, tmp_path):
    command = worker(f"""
        import subprocess
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        Path({str(tmp_path / "pid")!r}).write_text(str(child.pid))
        print("still at it", flush=True)
        time.sleep(600)
    """)
    with pytest.raises(
        QuantizationError,
        match=r"was stopped after 8 seconds; raise workers\.timeout .*\s+still at it",
    ):
        variant_of(run, method(command), WorkersConfig(timeout=8))
    child = int((tmp_path / "pid").read_text())
    for _ in range(50):
        state = Path(f"/proc/{child}/stat")
        if not state.exists() or state.read_text().split(")")[1].split()[0] == "Z":
            return
        time.sleep(0.1)
    os.kill(child, 9)
    pytest.fail("the worker's child lives on")


def test_r29_secrets_of_the_environment_do_not_reach_a_worker(worker, run, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "hush")
    with pytest.raises(QuantizationError, match="environment: none"):
        variant_of(
            run,
            method(
                worker(
                    "import os\nraise SystemExit('environment: ' + os.environ.get('WANDB_API_KEY',"
                    " 'none'))"
                )
            ),
        )


def test_options_and_environments_that_are_missing_are_told(run, tmp_path):
    nowhere = WorkersConfig(str(tmp_path / "nowhere"))
    for name in WORKERS:
        shipped = MethodConfig(name=name, high={"method": "external", "worker": name})
        with pytest.raises(QuantizationError, match="build it with `make workers`"):
            variant_of(run, shipped, nowhere)
    with pytest.raises(QuantizationError, match=r"cannot be started: .*no_such_program"):
        variant_of(run, method("no_such_program --now"))
    for options in ({}, {"worker": "auto_gptq", "command": "x"}, {"worker": "gguf"}):
        with pytest.raises(OptionError, match="auto_gptq, autoawq, gptqmodel, llmcompressor"):
            build_quantizer("external", options)
    with pytest.raises(QuantizationError, match="a worker quantizes whole models"):
        External(worker="auto_gptq")(torch.ones(2, 2), None)


def test_external_weights_are_not_exported_as_if_they_were_packed(worker, run, embedded, tmp_path):
    with pytest.raises(ConfigError, match="pack it with that library"):
        export_model(tmp_path / "model", embedded, variant_of(run, method(worker())), "external")


PROGRAMS = {
    ("auto_gptq", "ea0a4d7504977020"): "7b682da91fecaf1d",
    ("autoawq", "1b825ebd63e88ea5"): "2ed2baaef77655a4",
    ("gptqmodel", "fa92fa18725e9c21"): "d4091de598c169a6",
    ("llmcompressor", "23badb1cb04eb199"): "162e2af8d60189fb",
}


def without_docstrings(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.unparse(tree)


def test_a_program_that_changes_gets_another_identity():
    """Where this fails, a worker computes something else: change its identity in WORKERS, then the
    line here. Words may change as they like.
    """
    for name, worker in WORKERS.items():
        assert build_quantizer("external", {"worker": name}).script == worker.identity
        program = without_docstrings(SCRIPTS / worker.script)
        digest = hashlib.sha256(program.encode()).hexdigest()[:16]
        assert PROGRAMS.get((name, worker.identity)) == digest, name


@pytest.mark.slow
@pytest.mark.parametrize("name", WORKERS)
def test_a_shipped_worker_agrees_with_our_own_method(name, embedded, tmp_path):
    """The first block's inputs are the same on both sides:

    GPTQ's output error must be ours to 5 %, AWQ's below plain rounding's.
    """
    folder = Path(".workers").resolve()
    if not (folder / WORKERS[name].environment / "installed").exists():
        pytest.skip("needs the workers' environments: make workers")
    calibration = CalibrationConfig(sequence=64, tokens=2048)
    run = CalibrationRun(embedded, calibration, Store(tmp_path / "runs"))
    shipped = MethodConfig(name=name, high={"method": "external", "worker": name})
    theirs = variant_of(run, shipped, WorkersConfig(str(folder)))
    ours = variant_of(run, MethodConfig(name="gptq4", high={"method": "gptq", "bits": 4}))
    assert 4 < theirs.stored_bits < 4.5
    if name == "autoawq":
        assert theirs.weights[0].changed
        return
    stats = run.stats(0)
    for linear in ("self_attn.q_proj", "self_attn.v_proj"):
        weight = embedded.blocks[0].get_submodule(linear).weight
        changes = [
            variant.weights[0].linears[linear].dequantize() - weight for variant in (theirs, ours)
        ]
        errors = [float((change @ stats[linear].hessian * change).sum()) for change in changes]
        assert errors[0] == pytest.approx(errors[1], rel=0.05)
