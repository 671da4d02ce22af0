"""Which suites a folder of the configuration has, and who brings them."""

import dataclasses
import types

import pytest

from harness.config.compose import compose
from harness.errors import ConfigError
from harness.evaluation import text_suite
from harness.evaluation.pictures import mini
from harness.evaluation.pictures import suite as picture_suite
from harness.evaluation.registry import find_kind, known_folders, open_suites
from harness.evaluation.suite import Metric
from tests import packages

BROKEN = "raise ImportError('no module named they')\n"


def test_folders_of_the_repository_open_their_kind_of_suites():
    assert find_kind("mini") is mini.open_suites
    assert find_kind("text") is text_suite.open_suites
    assert find_kind("paper") is picture_suite.open_suites


def test_an_unknown_folder_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="choose one of mini, paper, text"):
        find_kind("../mini")


def test_the_batch_size_of_the_suite_goes_before_the_general_one(embedded, store, monkeypatch):
    sizes = []

    def opener(settings, *_):
        sizes.append(settings.batch_size)
        return {}

    monkeypatch.setattr("harness.evaluation.registry.find_kind", lambda _folder: opener)
    config = compose(["suite=mini_gqa", "batch_size=7"])
    open_suites(config, embedded, store)
    own = dataclasses.replace(config, suite=dataclasses.replace(config.suite, batch_size=3))
    open_suites(own, embedded, store)
    assert sizes == [7, 3]


def test_a_suite_that_no_table_would_show_is_refused(embedded, store, monkeypatch):
    metrics = {"acc": Metric("mean"), "f1": Metric("mean")}
    suites = {"theirs": types.SimpleNamespace(metrics=metrics)}
    monkeypatch.setattr("harness.evaluation.registry.find_kind", lambda _: lambda *_: suites)
    with pytest.raises(ConfigError, match=r"suite theirs: none of .* \(acc, f1\) is primary"):
        open_suites(compose(["suite=mini_gqa"]), embedded, store)


def test_a_broken_package_disturbs_nobody_who_does_not_choose_it(tmp_path, monkeypatch):
    (tmp_path / "they.py").write_text(BROKEN)
    points = {"harness.suites": {"their": "they:open_suites", "mini": "they:open_suites"}}
    packages.install_entry_points("they", points, tmp_path, monkeypatch)
    assert known_folders() == ["mini", "paper", "text", "their"]
    assert find_kind("mini") is mini.open_suites
    with pytest.raises(ConfigError, match=r"suite\.folder=their: its entry point they:open_suites"):
        find_kind("their")
