"""How the program starts and ends, wherever it is started from."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.paths import ROOT

PLAN = ["stage=plan", "model=mini", "method=rtn4"]


def harness(folder, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "harness", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{os.pathsep}{ROOT}", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "files", [("tasks.py", "reports/__init__.py", "conf/config.yaml"), ("tasks/__init__.py",)]
)
def test_modules_of_the_same_name_in_the_working_directory_change_nothing(tmp_path, files):
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("raise SystemExit('the wrong module')\n")
    done = harness(tmp_path, *PLAN)
    assert done.returncode == 0, done.stderr
    assert "mini: 8 decoder blocks of 7 linears" in done.stdout


def test_a_program_that_has_imported_such_a_module_is_told_so(tmp_path):
    (tmp_path / "tasks.py").write_text("")
    program = "import sys; sys.path.insert(0, '.'); import tasks, harness"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "harness needs its own package 'tasks'" in done.stderr
    assert "tasks.py" in done.stderr


def test_an_interrupt_that_a_library_makes_another_error_of_is_one_all_the_same(tmp_path):
    """As happens to one that comes in the middle of an import."""
    program = (
        "import os, signal, sys, harness.__main__ as main\n"
        "def run(arguments):\n"
        "    try: os.kill(os.getpid(), signal.SIGINT)\n"
        "    except KeyboardInterrupt: raise RecursionError\n"
        "main.run = run\n"
        "main.cli()"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 130
    assert done.stderr == "interrupted: the same command resumes where this one was\n"


@pytest.mark.parametrize("moment", ["importing", "asking"])
def test_control_c_is_one_line_and_exit_code_130(tmp_path, moment):
    command = [sys.executable, "-m", "harness", "method=fp", "suite=mini_gqa", "batch_size=1"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 200
    answers = tmp_path / "runs" / "answers"
    while time.monotonic() < deadline and process.poll() is None:
        if moment == "importing" or len(list(answers.glob("*/*.json"))) > 2:
            break
        time.sleep(0.05)
    if moment == "importing":
        time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert said == "interrupted: the same command resumes where this one was\n"


def test_a_reader_that_has_read_enough_gets_no_traceback():
    command = f"{sys.executable} -m harness --help | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode in (0, 141)  # 0 where all was written before the reader left
    assert done.stderr == ""


def test_a_locale_without_utf_8_gets_replacements_instead_of_an_error():
    code = (
        "import atexit, sys; atexit.register(lambda: print('\\u2500'));"
        "sys.argv = ['harness', '--version']; from harness.__main__ import cli; cli()"
    )
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, **plain}, capture_output=True
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.endswith(b"?\n")


WORKS = ("method=rtn4", "suite=mini_gqa", "limit=4")


@pytest.mark.parametrize("home", ["missing", "file"])
def test_r41_a_home_that_cannot_be_written_stops_nothing(tmp_path, home):
    (tmp_path / "file").touch()
    place = "/proc/nowhere" if home == "missing" else str(tmp_path / "file")
    caches = {"HF_HOME", "HF_DATASETS_CACHE", "XDG_CACHE_HOME"}
    environment = {name: value for name, value in os.environ.items() if name not in caches}
    done = subprocess.run(
        [sys.executable, "-m", "harness", *WORKS, f"store={tmp_path / 'runs'}"],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(ROOT), "HOME": place},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "rtn4 on GQA: done" in done.stdout
