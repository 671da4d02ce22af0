"""What configuration, names and surroundings cannot do: run code, lead out of the store, change a
result, reach for a network.
"""

import csv
import os
import subprocess
import sys

import pytest

from harness.paths import TASKS
from tasks.paper.replicas import write_replicas

SMALL = [
    "limit=12",
    "batch_size=4",
    "calibration.tokens=600",
    "entropy.clusters=8",
    "entropy.seeds=2",
    "suite=mini_gqa",
]

EVIL = """
task: evil
dataset_path: nowhere
test_split: test
doc_to_text: !function evil.touch
metadata: {title: Evil}
"""


@pytest.mark.parametrize("place", ["absolute", "relative"])
def test_r20_task_files_from_elsewhere_are_never_read(run, tmp_path, place):
    folder, canary = tmp_path / "tasks", tmp_path / "canary"
    folder.mkdir()
    (folder / "evil.yaml").write_text(EVIL)
    (folder / "evil.py").write_text(f"open({str(canary)!r}, 'w')\ndef touch(*_): return ''\n")
    given = str(folder) if place == "absolute" else os.path.relpath(folder, TASKS)
    code, text = run(f"suite.folder={given}", "suite.tasks=[evil]", "method=fp")
    assert code == 2
    assert "choose one of mini, paper" in text
    assert not canary.exists()


@pytest.mark.parametrize("key", ["model.name", "method.name", "suite.name", "tracker.project"])
def test_r21_a_name_that_looks_like_a_path_leads_nowhere(run, tmp_path, narrow_model, key):
    """Evaluated, exported and judged: whatever is written lies in the store."""
    store = tmp_path / "deep" / "er" / "runs"
    small = [
        *SMALL,
        f"model.path={narrow_model}",
        f"store={store}",
        "method=rtn4",
        f"{key}=../../../escape",
        "tracker=jsonl",
    ]
    assert run(*small)[0] == 0
    assert run(*small, "stage=export")[0] == 0
    assert run(*small, "stage=gate", "gate.questions=4")[0] in (0, 1, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]
    assert [path.name for path in (tmp_path / "deep" / "er").iterdir()] == ["runs"]
    assert not list(tmp_path.rglob("escape"))


DIGESTS = """
import sys
from harness.config.compose import compose
from harness.variants.calibration_run import open_run
from harness.variants.variant import make_variant
config = compose([f"model.path={sys.argv[1]}", f"store={sys.argv[2]}", *sys.argv[3:]])
run = open_run(config)
for k in (0, 2):
    method = compose(["method=luq", f"method.k={k}"]).method
    variant = make_variant(run, method, config.entropy)
    print(variant.digest, variant.order)
"""


def test_r23_processes_of_their_own_rank_and_quantize_alike(tmp_path, narrow_model):
    options = ["calibration.tokens=600", "entropy.clusters=8", "entropy.seeds=2"]
    running = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                DIGESTS,
                str(narrow_model),
                str(tmp_path / f"runs{seed}"),
                *options,
            ],
            text=True,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
        )
        for seed in range(2)
    ]
    said = [process.communicate(timeout=200)[0] for process in running]
    assert len(said[0].splitlines()) == 2
    assert said[1] == said[0]


OFFLINE = """
import socket, sys
def refuse(*_):
    raise OSError("the network is blocked")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
from harness.cli import main as app
sys.argv = ["harness", *sys.argv[1:]]
sys.exit(app.main())
"""


def test_r28_without_network_and_key_mathvista_is_scored_by_rules_and_says_so(
    tmp_path, narrow_model
):
    data = tmp_path / "replicas"
    write_replicas(data, 8)
    hidden = ("OPENAI_API_KEY", "API_TYPE", "AZURE_API_KEY", "HF_TOKEN")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            OFFLINE,
            f"model.path={narrow_model}",
            "suite=paper_mathvista",
            f"suite.data={data}",
            "method=fp",
            "limit=6",
            f"store={tmp_path / 'runs'}",
        ],
        env={name: value for name, value in os.environ.items() if name not in hidden},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    (row,) = csv.DictReader((tmp_path / "runs" / "results.csv").open())
    assert (row["suite"], row["metric"], row["n"]) == (
        "paper_mathvista",
        "accuracy_rule_based",
        "6",
    )
