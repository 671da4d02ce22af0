"""A sweep on a real SLURM, of one node on this machine."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.harness.launchers.test_joblib import SMALL, asked, results, table
from tests.paths import ROOT
from tests.sweeps import variants

START = ROOT / "tests" / "slurm" / "start.sh"
NEEDED = ("slurmctld", "slurmd", "munged", "sbatch")
MISSING = [name for name in NEEDED if shutil.which(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.storm,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(
        bool(MISSING), reason=f"needs {', '.join(MISSING)}: Debian's package slurm-wlm"
    ),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to start SLURM's daemons"),
]
SWEEP = ["-m", variants("method=fp", "method=gptq4", "method=luq method.k=2")]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The environment in which sbatch finds a cluster of its own."""
    pytest.importorskip("submitit", reason="needs the package submitit")
    folder = tmp_path_factory.mktemp("slurm")
    subprocess.run(["bash", str(START), str(folder)], check=True, timeout=120)
    yield {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    for name in ("slurmd.pid", "slurmctld.pid", "munge/pid"):
        os.kill(int((folder / name).read_text()), signal.SIGTERM)


def command(root, narrow_model, *more):
    return [
        sys.executable,
        "-m",
        "harness",
        *SWEEP,
        *SMALL,
        f"model.path={narrow_model}",
        f"store={root}",
        "launcher.cpus=1",
        "launcher.memory_gib=4",
        *more,
    ]


def say(text):
    """For `make storm`, which shows it."""
    print(text, flush=True)  # noqa: T201


def told(environment, *words):
    """What a command of SLURM prints."""
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout


def kill_process(task):
    """What the kernel does to a task that takes too much memory."""
    number = task.partition("_")[2]
    for _ in range(60):
        for one in psutil.process_iter(["cmdline"]):
            with contextlib.suppress(psutil.Error):
                words = one.info["cmdline"] or [""]
                here = "submitit.core._submit" in words and Path(words[0]).name.startswith(
                    "python"
                )  # and not srun
                if here and one.environ().get("SLURM_ARRAY_TASK_ID") == number:
                    one.kill()
                    return
        time.sleep(0.5)
    pytest.fail(f"no process of task {task}")


def test_r1_a_sweep_on_slurm_survives_preempted_cancelled_and_killed_tasks_with_the_store_of_one(
    tmp_path, narrow_model, cluster
):
    one, root = tmp_path / "one", tmp_path / "runs"
    subprocess.run(command(one, narrow_model, "quiet=true"), check=True)
    began = time.monotonic()
    sweep = subprocess.Popen(
        command(root, narrow_model, "launcher=slurm"),
        env=cluster,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    def note(text):
        say(f"{time.monotonic() - began:6.1f} s  {text}")

    def running(but, seconds):
        """The next task that runs, so long after that is seen: while it loads or works, which takes
        ten seconds.
        """
        while sweep.poll() is None:
            for task in told(cluster, "squeue", "-h", "-r", "-t", "RUNNING", "-o", "%i").split():
                if task not in but:
                    time.sleep(seconds)
                    return task
            time.sleep(0.5)
        pytest.fail("".join(sweep.communicate()))

    # USR2 is what SLURM sends before it takes a task's node away: submitit has the task queued
    # again. SLURM may say that the job cannot be altered now, and yet deliver the signal.
    preempted = running(but=[], seconds=3)
    subprocess.run(["scancel", "--signal=USR2", preempted], env=cluster, check=False)
    note(f"scancel --signal=USR2 {preempted}: as if it was preempted")
    killed = running(but=[preempted], seconds=0)
    kill_process(killed)
    note(f"kill -9 of the process of {killed}, which the sweep has queued again by itself")
    cancelled = running(but=[preempted, killed], seconds=3)
    subprocess.run(["scancel", cancelled], env=cluster, check=True)
    while "JobState=CANCELLED" not in told(
        cluster, "scontrol", "--oneliner", "show", "job", cancelled
    ):
        time.sleep(0.5)
    subprocess.run(["scontrol", "requeue", cancelled], env=cluster, check=True)
    note(f"scancel {cancelled}; scontrol requeue {cancelled}")
    victims = [preempted, killed, cancelled]
    said, errors = sweep.communicate(timeout=900)
    say(said)
    assert sweep.returncode == 0, said + errors
    assert "3 jobs in 3 tasks of SLURM" in said
    assert said.count(": done") == 3
    for victim in victims:
        job = told(cluster, "scontrol", "--oneliner", "show", "job", victim)
        note(f"{victim}: {' '.join(re.findall(r'(?:JobState|Restarts|RunTime)=[^ ]+', job))}")
        assert re.search(r"Restarts=[1-9]", job)
    assert table(root) == table(one)
    assert results(root) == results(one)
    assert asked(root) == asked(one)
    assert "6 done, 0 running, 0 failed, 0 missing" in told(
        cluster, *command(root, narrow_model, "stage=status")
    )


def test_without_waiting_the_command_ends_and_status_tells_the_rest(
    tmp_path, narrow_model, cluster
):
    root = tmp_path / "runs"
    said = told(
        cluster,
        *command(
            root,
            narrow_model,
            "launcher=slurm",
            "launcher.wait=false",
            "launcher.each=cell",
            "launcher.block=3",
        ),
    )
    assert "6 jobs in 2 tasks of SLURM" in said
    status = command(root, narrow_model, "stage=status")
    assert " 6 done" not in told(cluster, *status)
    subprocess.run(["scancel", "--user=root"], env=cluster, check=True)
    subprocess.run(command(root, narrow_model, "quiet=true"), check=True)  # goes on by itself
    assert "6 done" in told(cluster, *status)
