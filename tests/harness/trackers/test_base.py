"""Which trackers there are: files of the folder and entry points, imported only when chosen."""

import csv
import importlib
import sys

import pytest

from harness.errors import ConfigError
from harness.trackers.base import NONE, Run, find_tracker, known_trackers
from tests import packages
from tests.paths import ROOT

PAGE = ROOT / "docs" / "extending" / "tracker.md"
RUN = Run("identity", "name", "group", "evaluate", {})


@pytest.mark.parametrize("name", ["mlflow", "../jsonl", "__init__", "base", "guarded", "values"])
def test_an_unknown_name_is_refused_with_the_known_ones(name):
    with pytest.raises(ConfigError, match="choose one of jsonl, none, wandb"):
        find_tracker(name)


def test_an_unknown_tracker_is_refused_before_any_work(run, tmp_path, narrow_model):
    code, text = run(f"model.path={narrow_model}", "limit=8", "tracker.name=mlflow")
    assert code == 2
    assert "choose one of jsonl, none, wandb" in text
    assert not (tmp_path / "runs" / "cells").exists()


def test_every_tracker_of_the_folder_can_be_opened_by_its_name():
    for name in set(known_trackers()) - {NONE}:
        assert callable(importlib.import_module(f"harness.trackers.{name}").open_tracker), name


def test_a_file_in_the_folder_is_a_tracker(tmp_path, monkeypatch):
    (tmp_path / "lines.py").write_text("from harness.trackers.jsonl import open_tracker\n")
    folders = importlib.import_module("harness.trackers").__path__
    monkeypatch.setattr("harness.trackers.__path__", [*folders, str(tmp_path)])
    assert known_trackers() == ["jsonl", "lines", "none", "wandb"]
    find_tracker("lines")(RUN, tmp_path / "tracking", "project").finish()
    assert list((tmp_path / "tracking").glob("*.jsonl"))


def test_the_documented_tracker_works_from_a_package_of_its_own(
    run, tmp_path, narrow_model, monkeypatch
):
    packages.install(packages.files_of(PAGE), tmp_path / "package", monkeypatch)
    assert known_trackers() == ["csv", "jsonl", "none", "wandb"]
    (command,) = packages.commands_of(PAGE)
    code, text = run(*command, f"model.path={narrow_model}", "calibration.tokens=512")
    assert code == 0, text
    with (tmp_path / "runs" / "tracking" / "csv" / "luq-harness.csv").open() as file:
        values = {name: float(value) for _, name, value in csv.reader(file)}
    assert values["mini_gqa/n"] == 8
    assert values["stored_bits"] > 4


def test_a_broken_package_disturbs_nobody_who_does_not_choose_it(tmp_path, monkeypatch):
    (tmp_path / "broken.py").write_text("raise RuntimeError('an old version')\n")
    points = {"broken": "broken:open_tracker", "jsonl": "broken:open_tracker"}
    packages.install_entry_points("broken", {"harness.trackers": points}, tmp_path, monkeypatch)
    assert "broken" in known_trackers()
    find_tracker("jsonl")(RUN, tmp_path / "tracking", "project").finish()
    opener = find_tracker("broken")
    assert "broken" not in sys.modules
    with pytest.raises(RuntimeError, match="an old version"):
        opener(RUN, tmp_path, "project")


def test_two_packages_with_one_name_are_refused_when_it_is_chosen(tmp_path, monkeypatch):
    for name in ("first", "second"):
        group = {"harness.trackers": {"csv": f"{name}:open_tracker"}}
        packages.install_entry_points(name, group, tmp_path, monkeypatch)
    with pytest.raises(ConfigError, match="first:open_tracker, second:open_tracker; uninstall"):
        find_tracker("csv")
