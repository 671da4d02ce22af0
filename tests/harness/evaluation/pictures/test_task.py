"""What a task's YAML must say, and how far a limit goes."""

import pytest
import yaml

from harness.errors import ConfigError
from harness.evaluation.pictures.data import LocalData
from harness.evaluation.pictures.task import load_tasks
from harness.paths import TASKS
from tasks.mini import suites as mini

NAMES = ("mini_mme", "mini_mmbench", "mini_pope", "mini_gqa")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for name in NAMES:
        suite = name.removeprefix("mini_")
        mini.suite_dataset(suite, count=24).save_to_disk(folder / suite)
    return LocalData("few", tuple((n, folder / n.removeprefix("mini_")) for n in NAMES))


def test_a_limit_keeps_pairs_and_circular_groups_whole(data):
    tasks = load_tasks("mini", NAMES, "llava", data, None)
    assert tasks["mini_mme"].whole_groups(5) == 6
    assert tasks["mini_mmbench"].whole_groups(5) == 8
    assert tasks["mini_pope"].whole_groups(7) == 12
    assert tasks["mini_gqa"].whole_groups(5) == 5
    assert tasks["mini_gqa"].whole_groups(None) == tasks["mini_gqa"].whole_groups(10**6) == 24


def test_an_unknown_suite_is_refused_with_those_that_exist():
    with pytest.raises(ConfigError, match=r"unknown suite mini_popes; tasks/mini has .*mini_pope"):
        load_tasks("mini", ("mini_popes",), "llava", None, None)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"title": None}, "lacks title under `metadata`"),
        ({"version": None}, "lacks version under `metadata`"),
        ({"cluster": None}, "lacks cluster under `metadata`"),
        ({"cluster": "picture"}, "its data has no column 'picture' to cluster by; it has"),
        ({"metrics": {"m": {"statistic": "median"}}}, "metrics.m: unknown statistic 'median'"),
        ({"reading": "words"}, "metadata.reading is 'words'; name the function with which"),
    ],
)
def test_metadata_that_cannot_be_is_refused(tmp_path, data, changes, reason):
    text = (TASKS / "mini" / "mini_gqa.yaml").read_text()
    head, metadata = text.split("metadata:")
    given = yaml.safe_load("metadata:" + metadata)["metadata"] | changes
    plain = {key: value for key, value in given.items() if value is not None}
    (tmp_path / "mini_gqa.yaml").write_text(head + yaml.safe_dump({"metadata": plain}))
    with pytest.raises(ConfigError, match=reason):
        load_tasks(tmp_path, ("mini_gqa",), "llava", data, None)
