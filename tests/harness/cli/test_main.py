"""The command line: what a user types, what comes back, what is kept."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from harness.config.compose import compose
from harness.errors import ConfigError
from harness.evaluation.lmms_model import LuqModel
from harness.paths import CONF, TASKS
from harness.store.store import Store

SMALL = [
    "limit=12",
    "batch_size=4",
    "calibration.tokens=600",
    "entropy.clusters=8",
    "entropy.seeds=2",
    "suite=mini_gqa",
]


def rows(tmp_path):
    return list(csv.DictReader((tmp_path / "runs" / "results.csv").open()))


def test_one_command_quantizes_evaluates_and_reports(run, tmp_path):
    code, text = run(*SMALL, "method=gptq4")
    assert code == 0
    assert "gptq4 on GQA: done" in text
    (row,) = rows(tmp_path)
    assert (row["method"], row["high"], row["suite"], row["n"]) == (
        "gptq4",
        "gptq-4",
        "mini_gqa",
        "12",
    )
    assert float(row["stored_bits"]) == pytest.approx(4.15625)
    assert float(row["ci_low"]) <= float(row["score"]) <= float(row["ci_high"])
    assert "4.156" in (tmp_path / "runs" / "leaderboard.md").read_text()
    assert "gptq4" in (tmp_path / "runs" / "report" / "index.html").read_text()


def test_r1_the_same_command_again_evaluates_nothing(run, tmp_path, monkeypatch):
    run(*SMALL, "method=fp")
    before = rows(tmp_path)
    monkeypatch.setattr(LuqModel, "_generate", lambda *_: pytest.fail("asked again"))
    code, text = run(*SMALL, "method=fp")
    assert code == 0
    assert "already done" in text
    assert rows(tmp_path) == before


def test_equal_variants_of_different_names_are_evaluated_once(run, tmp_path, monkeypatch):
    run(*SMALL, "method=gptq4")
    monkeypatch.setattr(LuqModel, "_generate", lambda *_: pytest.fail("asked again"))
    code, _ = run(*SMALL, "method=luq", "method.k=0")
    assert code == 0
    luq, gptq = sorted(rows(tmp_path), key=lambda row: row["method"], reverse=True)
    assert (luq["method"], gptq["method"]) == ("luq", "gptq4")
    assert luq["score"] == gptq["score"]


def test_luq_at_all_blocks_is_billm_and_in_between_bits_lie_in_between(run, tmp_path, narrow_model):
    small = [*SMALL, f"model.path={narrow_model}"]
    for k in (0, 3, 4):
        assert run(*small, "method=luq", f"method.k={k}")[0] == 0
    assert run(*small, "method=billm")[0] == 0
    found = {(row["method"], row["k"]): row for row in rows(tmp_path)}
    stored = [float(found["luq", k]["stored_bits"]) for k in ("0", "3", "4")]
    assert stored[0] > stored[1] > stored[2]
    assert found["luq", "4"]["stored_bytes"] == found["billm", "0"]["stored_bytes"]
    assert found["luq", "4"]["score"] == found["billm", "0"]["score"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["method=gptx"], "gptx"),
        (["model=mimi"], "mimi"),
        (["suite=popo"], "popo"),
        (["colour=red"], "colour"),
        (["limit=0"], "limit is 0; give a number of questions above 0"),
        (["limit=few"], "few"),
        (["calibration.alpha=1.5"], "calibration.alpha is 1.5; it is a share of tokens, 0 to 1"),
        (["method=luq", "method.k=9"], "method.k is 9, mini has 8 decoder blocks: choose 0 to 8"),
        (["method=luq", "method.k=-1"], "method.k is -1"),
        (["method=gptq4", "method.k=2"], "gptq4 has no low method"),
        (["method=luq", "method.order=entropie"], "choose one of entropy"),
        (["method=gptq4", "+method.high.bit=3"], "gptq has no option bit"),
        (["method=billm", "method.high.variant=paper"], "variant must be code or fixed"),
        (["method=custom"], "method.high=REQUIRED: no method with one quantizer"),
        (["method=custom", "method.name=x"], "give a quantizer as 'method.high={method: NAME}"),
        (["limt=4"], "unknown key limt; did you mean limit?"),
        (["calibration.tokns=4"], "did you mean calibration.tokens?"),
        (["model.device=cdua"], "model.device is cdua; give auto, cpu, cuda"),
        (["method.low=custom"], "method.low=custom: no method with one quantizer"),
        (["method=glob(xyz*)", "-m"], "does a glob() or range() match anything?"),
        (["stage=evaluat"], "stage is 'evaluat'; choose one of evaluate, entropy, stability"),
        (["model.path=/nowhere/model"], "cannot load model"),
        (["model.dtype=int8"], "model.dtype is 'int8'"),
        (["entropy.clusters=1"], "entropy.clusters is 1"),
        (["entropy.clusters=many"], "entropy.clusters is 'many'; give a number or `stable`"),
        (
            ["entropy.at=middle"],
            "entropy.at is 'middle'; choose one of output, input_norm, output_norm",
        ),
        (["entropy.grid=[10]"], "at least three rising numbers"),
        (["entropy.drop=1"], "entropy.drop is 1.0"),
        (["calibration.image_text=null"], "there is no source of image-text samples"),
        (["method=luq", "method.k=most"], "method.k is 'most'"),
        (["method=luq", "method.inputs=bank"], "choose one of fp, graft, sequential"),
        (["stage=orders", "method=gptq4"], "such as method=luq"),
        (["+sweep=first_look,other", "-m"], "run one sweep at a time"),
        (["+sweep=nothing"], "nothing"),
        (["+model._target_=os.system"], "_target_"),
        (["calibration=null"], "Config group override must be a string or a list"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_bad_configuration_is_one_clear_error_with_exit_code_2(run, tmp_path, arguments, said):
    code, text = run(*SMALL, *arguments)
    assert code == 2
    assert "configuration error:" in text
    assert said in text
    assert "Traceback" not in text


@pytest.mark.parametrize("content", ["limit:\t4\n", "limit: [4\n", "\u00e9".encode("latin-1")])
def test_a_file_that_is_no_yaml_is_one_clear_error_with_its_name(run, tmp_path, content):
    file = tmp_path / "own" / "sweep" / "odd.yaml"
    file.parent.mkdir(parents=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    code, text = run("--config-dir", str(file.parents[1]), "+sweep=odd")
    assert code == 2, text
    assert "configuration error:" in text
    assert "Traceback" not in text
    if isinstance(content, str):
        assert f'"{file}", line' in text


def test_r27_a_failing_cell_leaves_the_others_alone_and_gives_exit_code_1(
    run, tmp_path, monkeypatch
):
    real = LuqModel._generate

    def generate(self, batch, ahead=None):
        if "mini_pope" in batch[0].label:
            raise RuntimeError("decoder broke")
        return real(self, batch, ahead)

    monkeypatch.setattr(LuqModel, "_generate", generate)
    both = [argument for argument in SMALL if not argument.startswith("suite=")] + [
        "suite.tasks=[mini_pope,mini_gqa]"
    ]
    code, text = run(*both, "method=fp")
    assert code == 1
    assert "fp on POPE: FAILED" in text
    assert [row["suite"] for row in rows(tmp_path)] == ["mini_gqa"]
    assert "decoder broke" in (tmp_path / "runs" / "report" / "index.html").read_text()
    monkeypatch.setattr(LuqModel, "_generate", real)
    assert run(*both, "method=fp")[0] == 0
    assert "decoder broke" not in (tmp_path / "runs" / "report" / "index.html").read_text()
    assert len(rows(tmp_path)) == 3


def test_r9_a_layer_that_cannot_be_quantized_fails_its_cell_by_name(
    run, tmp_path, embedded, monkeypatch
):
    weight = embedded.blocks[2].self_attn.q_proj.weight
    monkeypatch.setattr(
        "harness.variants.calibration_run.load_model", lambda *_, **_options: embedded
    )
    kept = weight.data.clone()
    try:
        weight.data[0, 0] = float("nan")
        code, text = run(*SMALL, "method=rtn4")
    finally:
        weight.data = kept
    assert code == 1
    assert "block 2 self_attn.q_proj: rtn: the weight holds 1 NaN" in text


def test_a_store_that_cannot_be_written_is_exit_code_1_with_what_to_do(run):
    code, text = run(*SMALL, "store=/proc/luq-store")
    assert code == 1
    assert "cannot write to the store" in text


def test_a_report_of_an_empty_store_says_so(run, tmp_path):
    Store(tmp_path / "runs")
    code, _ = run("stage=report")
    assert code == 0
    assert "holds no results yet" in (tmp_path / "runs" / "leaderboard.md").read_text()


SWEEPS = sorted(path.stem for path in (CONF / "sweep").glob("*.yaml"))
TINY = [
    "batch_size=4",
    "limit=4",
    "suite=mini_gqa",
    "calibration.tokens=256",
    "calibration.sequence=32",
    "entropy.clusters=4",
    "entropy.seeds=2",
    "entropy.grid=[3,4,5,6]",
]
SHOWN = {
    "first_look": "Score against size",
    "methods": "Score against size",
    "table1": "Score against size",
    "tradeoff": "Score against size",
    "ablation_order": "Order of the blocks",
    "ablation_inputs": "Inputs of calibration",
    "ablation_alpha": "Calibration mixture",
    "ablation_calibration": "Text against mixed calibration",
    "allocation": "allocated, divergence by linear",
    "entropy": "Entropy by depth",
    "stability_k": "Stability of the ranking over K",
    "workers": "Score against size",
    "noise": "Noise floor",
}


FEWER = {
    "noise": ["calibration.seed=0,1"],
    "ablation_alpha": ["calibration.alpha=0,0.5,1"],
}  # values of a sweep that has many


@pytest.fixture(scope="module")
def sweep_store(tmp_path_factory):
    """One store for all sweeps: what one quantized, the next finds.

    Cells and measurements are taken out before each.
    """
    return tmp_path_factory.mktemp("sweeps")


@pytest.mark.parametrize("sweep", SWEEPS)
def test_every_sweep_runs_with_a_tiny_limit_and_shows_its_figure(
    run, sweep_store, narrow_model, sweep, monkeypatch
):
    monkeypatch.setattr("harness.variants.block_scores.HELD_OUT", 8)
    for kind in ("cells", "results", "measurements", "failures"):
        shutil.rmtree(sweep_store / kind, ignore_errors=True)
    given = [
        *TINY,
        *FEWER.get(sweep, []),
        f"model.path={narrow_model}",
        f"workers.folder={sweep_store}",
        f"store={sweep_store}",
    ]
    code, text = run(f"+sweep={sweep}", *given)
    assert SHOWN[sweep] in (sweep_store / "report" / "index.html").read_text()
    assert re.match(r"\d+ cells?, 0 already done", text)
    if sweep == "workers":  # their environments are missing: their own cells fail, and no others
        assert code == 1
        assert text.count("FAILED") == 8
    else:
        assert code == 0, text


def test_a_sweep_says_before_it_starts_what_is_done_and_how_long_the_rest_should_take(
    run, tmp_path, narrow_model
):
    arguments = [
        *TINY,
        f"model.path={narrow_model}",
        "method=luq",
        "method.order=depth",
        "method.low=rtn2",
        "method.high=rtn4",
    ]
    _, text = run(*arguments, "method.k=quarters")
    assert text.startswith(
        "3 cells, 0 already done, 3 left with at most 12 questions (time unknown, nothing was"
        " evaluated in this store before"
    )
    _, text = run(*arguments, "method.k=all")
    assert text.startswith("5 cells, 3 already done, 2 left with at most 8 questions (about ")
    _, text = run(*arguments, "method.k=0,2,4", "-m")
    assert text.startswith("3 cells, all already done")
    commands = {row["k"]: row for row in rows(tmp_path)}
    assert set(commands) == set("01234")
    page = (tmp_path / "runs" / "report" / "index.html").read_text()
    assert "method.k=3" in page
    assert "method.k=all" not in page


def test_every_configuration_file_composes():
    for group in ("model", "method", "calibration", "suite"):
        for path in (CONF / group).glob("*.yaml"):
            given = ["method.high={method: rtn}"] if path.stem == "custom" else []
            compose([f"{group}={path.stem}", *given])
    with pytest.raises(ConfigError, match="limit"):
        compose(["limit=0"])


def command(store, *arguments):
    return [
        sys.executable,
        "-m",
        "harness",
        f"store={store}",
        "suite=mini_gqa",
        "method=fp",
        "limit=120",
        "batch_size=2",
        *arguments,
    ]


@pytest.mark.slow
@pytest.mark.storm
def test_r1_a_killed_run_resumes_with_at_most_one_batch_asked_again_and_the_same_results(
    tmp_path, run, monkeypatch
):
    """kill -9 in the middle of a suite, then the same command."""
    store = tmp_path / "killed"
    process = subprocess.Popen(command(store), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while len(list(store.glob("answers/*/*.json"))) < 10 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = len(list(store.glob("answers/*/*.json")))
    assert 10 <= kept < 60
    assert not list(store.glob("results/*"))
    asked, real = [], LuqModel._generate
    monkeypatch.setattr(
        LuqModel,
        "_generate",
        lambda self, batch, ahead=None: (asked.extend(batch), real(self, batch, ahead))[1],
    )
    assert run(*command(store)[3:])[0] == 0
    assert len(asked) == 120 - 2 * kept
    whole = tmp_path / "whole"
    assert run(*command(whole)[3:])[0] == 0

    def results(root):
        return [json.loads(path.read_text()) for path in root.glob("results/*/result.json")]

    assert results(store) == results(whole)
    assert (store / "results.csv").read_text() == (whole / "results.csv").read_text()


def test_lmms_evals_own_command_line_finds_the_model(tmp_path):
    """`python -m lmms_eval --model luq` on one suite drawn into a folder of its own."""
    from tasks.mini.suites import suite_dataset

    suite_dataset("gqa", count=8).save_to_disk(tmp_path / "mini_suites" / "gqa")
    arguments = [
        sys.executable,
        "-m",
        "lmms_eval",
        "--model",
        "luq",
        "--model_args",
        f"variant=gptq3,model=mini,store={tmp_path / 'runs'}",
        "--tasks",
        "mini_gqa",
        "--include_path",
        str(TASKS / "mini"),
        "--batch_size",
        "4",
        "--limit",
        "8",
        "--output_path",
        str(tmp_path / "out"),
    ]
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, check=False)
    (result,) = (
        (tmp_path / "out").rglob("*results.json")
        if done.returncode == 0
        else pytest.fail(done.stderr[-3000:])
    )
    assert "exact_match,none" in json.loads(result.read_text())["results"]["mini_gqa"]
