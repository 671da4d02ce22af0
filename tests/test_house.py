"""Rules of the house: which room may use which, how large rooms and files may be."""

import ast
import graphlib
import subprocess
import sys

import grimp
import pytest

from tests.paths import ROOT

PACKAGES = ("harness", "luq", "reports", "tasks")
LONGEST_FILE = 400
LARGEST_FOLDER = 16
# Libraries that one place alone may import, so that the others do not depend on them.
DOORS = {
    "hydra": ("harness/config/compose.py", "harness/cli/"),
    "wandb": ("harness/trackers/wandb.py",),
    "submitit": ("harness/launchers/slurm.py",),
}


@pytest.fixture(scope="module")
def graph():
    """Every import of the four packages: also those inside functions and for type checkers."""
    return grimp.build_graph(*PACKAGES, exclude_type_checking_imports=False, cache_dir=None)


def test_every_room_imports_only_what_is_below_it():
    """The contracts of pyproject.toml, without exceptions."""
    linter = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"]
    done = subprocess.run(
        [*linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout
    assert "ignore_imports" not in (ROOT / "pyproject.toml").read_text()


def test_no_module_imports_itself_through_others(graph):
    imports = {one: graph.find_modules_directly_imported_by(one) for one in graph.modules}
    try:
        tuple(graphlib.TopologicalSorter(imports).static_order())
    except graphlib.CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def sources(*packages):
    return [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("library", DOORS)
def test_a_library_with_one_door_is_imported_there_alone(library):
    for path in sources(*PACKAGES):
        place = path.relative_to(ROOT).as_posix()
        assert library not in imported(path) or place.startswith(DOORS[library]), place


def test_files_and_folders_stay_small():
    everywhere = sources(*PACKAGES, "bench", "tools", "examples", "tests")
    for path in everywhere:
        assert len(path.read_text().splitlines()) <= LONGEST_FILE, path
    folders = {path.parent for path in everywhere if "tests" not in path.parts}
    for folder in folders:
        modules = [one for one in folder.glob("*.py") if one.name != "__init__.py"]
        assert len(modules) <= LARGEST_FOLDER, folder


def test_r20_configuration_files_name_no_code():
    for path in (ROOT / "conf").rglob("*.yaml"):
        assert "_target_" not in path.read_text(), path


def test_what_is_not_installed_is_imported_by_nothing_that_is():
    for path in sources(*PACKAGES):
        assert not {"bench", "tools", "tests", "examples"} & set(imported(path)), path


def test_lines_of_text_files_are_readable():
    """Python has its linter; here configuration and task files."""
    for path in [*(ROOT / "conf").rglob("*.yaml"), *(ROOT / "tasks").rglob("*.yaml")]:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            assert len(line) <= 100, f"{path}:{number}"
