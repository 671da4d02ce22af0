"""Rules of the house that a linter cannot say."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORBIDDEN = {
    "luq": (
        "harness",
        "reports",
        "tasks",
        "hydra",
        "omegaconf",
        "lmms_eval",
        "lm_eval",
        "wandb",
        "transformers",
        "datasets",
    ),
    "reports": ("luq", "harness", "tasks", "torch", "hydra", "transformers", "lmms_eval"),
    "tasks": ("harness", "luq", "reports", "hydra"),
}


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("room", FORBIDDEN)
def test_rooms_stand_on_the_ground_they_may_stand_on(room):
    for path in (ROOT / room).rglob("*.py"):
        assert not set(imported(path)) & set(FORBIDDEN[room]), path


def test_hydra_and_transformers_have_one_door_each():
    for path in (ROOT / "harness").glob("*.py"):
        names = set(imported(path))
        assert "hydra" not in names or path.name == "app.py", path
        assert "transformers" not in names or path.name in (
            "models.py",
            "processors.py",
            "lmms_model.py",
        ), path


def test_files_stay_under_400_lines():
    for room in ("luq", "harness", "reports", "tasks"):
        for path in (ROOT / room).rglob("*.py"):
            assert len(path.read_text().splitlines()) <= 400, path


def test_r20_configuration_files_name_no_code():
    for path in (ROOT / "conf").rglob("*.yaml"):
        assert "_target_" not in path.read_text(), path
