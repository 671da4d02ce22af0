"""Jobs of a sweep in processes of their own: the same store as one after the other, whatever dies
on the way.
"""

import contextlib
import csv
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch

from harness.launchers import joblib as launcher
from harness.launchers.job import JobResult, run_one
from harness.stages import run as stage_run
from tests.paths import ROOT
from tests.sweeps import variants

SMALL = [
    "limit=8",
    "batch_size=4",
    "calibration.tokens=600",
    "entropy.clusters=8",
    "entropy.seeds=2",
    "suite.tasks=[mini_gqa,mini_pope]",
]
WITNESS = ROOT / "tests" / "chaos" / "witness"
# Two names for one variant, and a job that cannot be.
SWEEP = [
    "-m",
    variants("method=fp", "method=gptq4", "method=luq method.k=0", "method=luq method.k=99"),
]


def command(root, narrow_model, *more):
    return [
        sys.executable,
        "-m",
        "harness",
        *SWEEP,
        *SMALL,
        f"model.path={narrow_model}",
        f"store={root}",
        *more,
    ]


def table(root):
    """Every score, without what tells when and how it was made."""
    with (root / "results.csv").open() as file:
        return sorted(tuple(row.items()) for row in csv.DictReader(file))


def results(root):
    """Every answer and score, by the key of what it depends on."""
    return {path.parent.name: path.read_text() for path in (root / "results").glob("*/result.json")}


def asked(root):
    """How many questions the logs of answers hold, by log."""
    return sum(
        len(path.read_text().split('"response"')) - 1
        for path in (root / "answers").glob("*/*.json")
    )


def claimants(root):
    """The processes that hold a claim on this store."""
    holding = set()
    for path in (root / "claims").glob("[!.]*"):
        with contextlib.suppress(FileNotFoundError, IndexError):  # released, not yet written
            holding.add(int(path.read_text().split()[1]))
    return holding


def witnessed(path, what):
    """What all processes together did, each thing as often as it was done."""
    lines = [json.loads(line) for file in path.iterdir() for line in file.read_text().splitlines()]
    return [(line["key"], part) for line in lines if line["what"] == what for part in line["parts"]]


@pytest.fixture(scope="module")
def one_by_one(tmp_path_factory, narrow_model):
    root = tmp_path_factory.mktemp("one") / "runs"
    assert subprocess.run(command(root, narrow_model, "quiet=true"), check=False).returncode == 2
    return root


def test_r5_two_processes_give_the_store_of_one_ask_nothing_twice_and_a_bad_job_stops_no_other(
    tmp_path, narrow_model, one_by_one
):
    root, log = tmp_path / "runs", tmp_path / "witnessed"
    log.mkdir()
    done = subprocess.run(
        command(root, narrow_model, "launcher=joblib", "launcher.workers=2"),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env={**os.environ, "PYTHONPATH": str(WITNESS), "WITNESS": str(log)},
    )
    assert done.returncode == 2, done.stderr
    assert "method.k is 99" in done.stderr
    assert "4 jobs, 2 at once" in done.stdout
    for what, count in (
        ("answered", asked(one_by_one)),
        ("quantized", 4),
    ):  # by both processes together
        things = witnessed(log, what)
        assert len(things) == len(set(things)) == count
    assert table(root) == table(one_by_one)
    assert results(root) == results(one_by_one)
    assert asked(root) == asked(one_by_one)
    assert not list((root / "claims").iterdir())


@pytest.mark.slow
@pytest.mark.storm
def test_r1_workers_that_are_killed_are_replaced_and_the_sweep_goes_on(
    tmp_path, narrow_model, one_by_one
):
    root = tmp_path / "runs"
    sweep = subprocess.Popen(
        command(root, narrow_model, "launcher=joblib", "launcher.workers=2"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    killed = set()
    while sweep.poll() is None and len(killed) < 3:
        time.sleep(0.05)
        # A worker is killed while it holds a claim: in the middle of its work.
        for worker in claimants(root) - killed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
                killed.add(worker)
                break
    sweep.communicate(timeout=280)
    assert sweep.returncode == 2
    assert len(killed) == 3
    assert table(root) == table(one_by_one)
    assert results(root) == results(one_by_one)


@pytest.mark.slow
@pytest.mark.storm
def test_workers_that_always_die_end_the_sweep_with_what_is_lost(monkeypatch):
    monkeypatch.setattr(launcher, "ATTEMPTS", 2)
    monkeypatch.setattr(launcher, "_work", _die)
    told = []
    done = launcher.run_parallel([["a"], ["b"], ["c"]], 2, 0, told.append)
    assert done == told
    assert [(one.number, one.code) for one in done] == [(0, 1), (1, 1), (2, 1)]
    assert "workers died 2 times" in done[0].reason


def test_cells_can_be_dealt_out_alone_and_are_those_of_whole_jobs(
    run, tmp_path, narrow_model, monkeypatch
):
    dealt = []

    def in_this_process(jobs, workers, gpus, told):
        dealt.extend(jobs)
        return [run_one(number, job) for number, job in enumerate(jobs)]

    monkeypatch.setattr("harness.launchers.launch.run_parallel", in_this_process)
    rtn = "method.order=depth method.low=rtn2 method.high=rtn4"
    given = [
        variants("method=fp", f"method=luq method.k=quarters {rtn}", "stage=entropy"),
        *SMALL,
        f"model.path={narrow_model}",
    ]
    assert run(*given, "launcher=joblib", "launcher.each=cell", "-m")[0] == 0
    assert len(dealt) == 2 * (1 + 3) + 1
    code, text = run(*given, "-m")
    assert code == 0
    assert text.startswith("9 cells, 8 already done")
    dealt.clear()
    assert run(*given[1:], "method=fp", "launcher=joblib")[0] == 0  # one job is dealt out too
    assert len(dealt) == 1


def test_a_worker_ends_when_its_sweep_is_killed():
    program = (
        "import os, time; from harness.launchers.joblib import _end_with; _end_with(os.getppid());"
        ' print("ready"); time.sleep(99)'
    )
    sweep = subprocess.Popen(
        ["sh", "-c", f"{sys.executable} -u -c '{program}' & wait"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert sweep.stdout.readline() == "ready\n"
    os.kill(sweep.pid, signal.SIGKILL)
    sweep.communicate(timeout=30)  # raises as long as the worker holds its end of the pipe


def test_every_job_begins_with_the_random_numbers_of_a_fresh_process(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        stage_run,
        "run_alone",
        lambda _: (
            drawn.append((random.random(), np.random.rand(), torch.rand(1).item())),
            (0, ""),
        )[1],
    )
    for number in range(2):
        run_one(number, [])
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("jobs", [3, 1])
def test_jobs_run_in_workers_also_the_last_alone(monkeypatch, jobs):
    monkeypatch.setattr(launcher, "_work", _process)
    told = []
    done = launcher.run_parallel([["a"]] * jobs, 2, 0, told.append)
    assert [one.number for one in done] == sorted(one.number for one in told) == list(range(jobs))
    assert all(one.reason != str(os.getpid()) for one in done)


def _process(number, overrides, gpus):
    return JobResult(number, 0, str(os.getpid()))


def test_every_worker_watches_its_sweep_from_its_start(monkeypatch):
    monkeypatch.setattr(launcher, "_work", _watching)
    assert all(
        one.reason == "yes" for one in launcher.run_parallel([["a"]] * 2, 2, 0, lambda _: None)
    )


def _watching(number, overrides, gpus):
    return JobResult(
        number,
        0,
        "yes" if any("watch" in thread.name for thread in threading.enumerate()) else "no",
    )


def test_one_worker_is_the_sweep_itself_and_outlives_its_jobs(monkeypatch):
    monkeypatch.setattr(stage_run, "run_alone", lambda _: (0, str(os.getpid())))
    done = launcher.run_parallel([["a"], ["b"]], 1, 0, lambda _: time.sleep(1))
    assert [one.reason for one in done] == [str(os.getpid())] * 2


def _die(number, overrides, gpus):
    os.kill(os.getpid(), signal.SIGKILL)


def test_every_worker_has_a_gpu_of_its_own(monkeypatch):
    for name, wanted in (("LokyProcess-1", "5"), ("LokyProcess-2", "3"), ("LokyProcess-4", "3")):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
        monkeypatch.delenv("LUQ_DEVICE_CHOSEN", raising=False)
        monkeypatch.setattr("multiprocessing.process._current_process._name", name)
        launcher._choose_device(2)
        assert os.environ["CUDA_VISIBLE_DEVICES"] == wanted
        launcher._choose_device(2)  # once only
        assert os.environ["CUDA_VISIBLE_DEVICES"] == wanted
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,-1")
    assert launcher.count_gpus() == 2
