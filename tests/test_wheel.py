"""The wheel holds what the program needs and nothing else, and runs in an empty folder."""

import configparser
import csv
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib.metadata import version
from pathlib import PurePosixPath

import pytest

from tests.paths import ROOT

PACKAGES = ("harness", "luq", "reports", "tasks")
MOVED = {"conf": "harness/conf"}  # folders of the repository with another place in the wheel
NEEDED_SETUPTOOLS = 77
SWEEP = ("+sweep=first_look", "limit=4")


def tracked_files():
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from the tracked files alone, as in a new clone.

    With this environment's setuptools if they are new enough, else with those that pip fetches.
    """
    clone, out = tmp_path_factory.mktemp("clone"), tmp_path_factory.mktemp("wheel")
    for name in tracked_files():
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, clone / name)
    usable = (
        importlib.util.find_spec("setuptools") is not None
        and int(version("setuptools").split(".")[0]) >= NEEDED_SETUPTOOLS
    )
    options = ["--no-build-isolation"] if usable else []
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", *options]
    done = subprocess.run(
        [*command, "--wheel-dir", str(out), str(clone)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (
        f"{done.stderr}\nThe wheel needs setuptools >= {NEEDED_SETUPTOOLS}: in this environment, or"
        " from an index that pip reaches"
    )
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory):
    """A folder in which the wheel is unpacked."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def names_in(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


def is_metadata(name):
    return PurePosixPath(name).parts[0].endswith(".dist-info")


def place(name):
    """Where a file of the repository is in the wheel; None for files that are not installed."""
    first, _, rest = name.partition("/")
    if first in MOVED:
        return f"{MOVED[first]}/{rest}"
    return name if first in PACKAGES and rest else None


def test_the_wheel_holds_every_file_of_its_packages_and_no_other(wheel):
    """No tests, benchmarks and tools; all configuration, task files, weights, templates, locks."""
    expected = {target for name in tracked_files() if (target := place(name)) is not None}
    found = {name for name in names_in(wheel) if not is_metadata(name)}
    missing, unknown = sorted(expected - found), sorted(found - expected)
    assert not missing, f"add to packages or package-data in pyproject.toml: {missing}"
    assert not unknown, f"in the wheel, but in no package of the repository: {unknown}"


def test_the_wheel_puts_four_packages_beside_those_of_others(wheel):
    top = {name.split("/")[0] for name in names_in(wheel) if not is_metadata(name)}
    assert top == set(PACKAGES)


def test_luq_and_harness_are_typed_for_those_who_import_them(wheel):
    assert {"luq/py.typed", "harness/py.typed"} <= names_in(wheel)


def test_the_wheel_names_its_command_and_what_it_plugs_into_others(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/entry_points.txt"))
        points = configparser.ConfigParser()
        points.read_string(archive.read(name).decode())
    assert points["console_scripts"]["luq-harness"] == "harness.__main__:cli"
    assert "luq" in points["lmms_eval.models"]
    for group in points.sections():
        for target in points[group].values():
            module = target.partition(":")[0].replace(".", "/")
            assert {f"{module}.py", f"{module}/__init__.py"} & names_in(wheel), target


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param(("suite=mini_gqa", "calibration.tokens=512"), id="one suite"),
        pytest.param((), id="nine suites", marks=pytest.mark.slow),
    ],
)
def test_the_wheel_runs_a_sweep_in_an_empty_folder(site, tmp_path, overrides):
    """Without this environment's .pth files: an editable install would add the repository."""
    command = [sys.executable, "-S", "-P", "-m", "harness", *SWEEP, *overrides, "model.device=cpu"]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(site), sysconfig.get_path("purelib")]),
    }
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "<html" in (tmp_path / "runs" / "report" / "index.html").read_text()
    with (tmp_path / "runs" / "results.csv").open(newline="") as file:
        variants = {(row["method"], row["k"]) for row in csv.DictReader(file)}
    assert len(variants) == 8
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}
