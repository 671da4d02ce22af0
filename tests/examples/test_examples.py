"""Every example runs, as it is in the folder examples."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import matplotlib
import pytest

import harness
from tests import packages
from tests.paths import ROOT

EXAMPLES = ROOT / "examples"
FAST = ["limit=4", "batch_size=4", "calibration.tokens=512", "calibration.sequence=32"]


@pytest.fixture
def fast(narrow_model, tmp_path):
    """Overrides that make a command quick where the answers do not matter."""
    return [*FAST, f"model.path={narrow_model}", f"store={tmp_path / 'runs'}"]


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install the package of an example."""

    def copied(name):
        folder = EXAMPLES / name
        files = {
            path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
            for path in folder.rglob("*")
            if path.suffix in (".py", ".toml", ".yaml")
        }
        packages.install(files, tmp_path / name, monkeypatch)

    return copied


def commands(name):
    """The commands of an example's README by their first word that is not a flag's."""
    return packages.commands_of(EXAMPLES / name / "README.md")


def python(folder, *arguments):
    """What a program prints that runs in a process of its own."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_quantize_runs_and_restores_the_model(tmp_path):
    lines = python(tmp_path, EXAMPLES / "quantize.py").splitlines()
    full, gptq, luq, billm, restored = lines
    assert full.removeprefix("full precision") == restored.removeprefix("restored")
    bits = [float(re.findall(r"([\d.]+) stored bits", line)[0]) for line in (luq, gptq, billm)]
    assert bits == sorted(bits, reverse=True)


def test_the_sweep_runs_from_its_own_folder(run, fast, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    (command,) = commands("sweep")
    code, text = run(*command, *fast)
    assert code == 0, text
    table = harness.read(tmp_path / "runs").to_pandas()
    sizes = table.drop_duplicates("method").set_index("method")["stored_bits"]
    assert sizes["gptq3"] < sizes["gptq3-g64"] < sizes["gptq3-g32"] < sizes["gptq4"] < sizes["fp"]


def test_the_quantizer_is_evaluated_and_judged(run, fast, install, tmp_path):
    install("quantizer_package")
    alone, as_low, gate = commands("quantizer_package")
    for command in (alone, as_low):
        code, text = run(*command, "suite=mini_gqa", *fast)
        assert code == 0, text
    table = harness.read(tmp_path / "runs").to_pandas().set_index("method")
    assert table["stored_bits"]["ternary"] == pytest.approx(2.25)
    code, text = run(*gate, "suite=mini_gqa", *fast)
    assert code in (1, 3), text
    verdict = json.loads((tmp_path / "runs/gate/mini-ternary/gate.json").read_text())
    contract = [check for check in verdict["checks"] if check["group"] == "contract"]
    assert contract
    assert {check["verdict"] for check in contract} <= {"pass", "skipped"}


def test_the_suite_draws_its_data_and_is_evaluated(run, fast, install, tmp_path):
    install("suite")
    (command,) = commands("suite")
    code, text = run(*command, *fast)
    assert code == 0, text
    (row,) = harness.read(tmp_path / "runs").to_pylist()
    assert (row["suite"], row["n"]) == ("squares", 4)
    answers = harness.read(tmp_path / "runs", "answers").to_pandas()
    assert answers.groupby("cluster").size().to_list() == [2, 2]


def test_the_notebook_reads_a_store(run, fast, tmp_path, monkeypatch):
    for method in ("fp", "gptq3"):
        assert run(f"method={method}", "suite=mini_gqa", *fast)[0] == 0
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    cells = json.loads((EXAMPLES / "read_store.ipynb").read_text(encoding="utf-8"))["cells"]
    names = {}
    for cell in cells:
        assert not cell.get("outputs"), "clear the notebook's outputs"
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    assert set(names["scores"]["method"]) == {"fp", "gptq3"}
    assert list(names["comparisons"]["reference"]) == ["fp"]
    assert len(names["said"]) <= 4
    assert len(names["figure"].axes) == 1


def test_python_in_the_guide_runs(tmp_path):
    """Blocks marked `python`; those that need a model of the reader's are marked `py`."""
    text = (ROOT / "docs" / "guides" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.S | re.M)
    checks = "assert scores.num_rows == 1; assert len(answers) == 20"
    assert "gptq3" in python(tmp_path, "-c", "\n".join([*blocks, checks]))
