"""A statistic of another package: the one of docs/extending/score.md, installed and used."""

import re
import sys
import tomllib

import numpy as np
import pytest

from reports.records.results import Answer
from reports.report.write import write_report
from reports.statistics.estimate import estimate
from reports.statistics.non_inferior import non_inferior
from reports.statistics.paired import compare
from reports.statistics.registry import STATISTICS, find_statistic, installed_statistics
from reports.statistics.statistic import Judged
from tests.paths import ROOT
from tests.reports.builders import add_cell, change_result, metric, suite_result

PAGE = (ROOT / "docs" / "extending" / "score.md").read_text()
STATISTIC, LMMS_EVAL, JUDGE = re.findall(r"```python\n(.*?)```", PAGE, re.S)
(PROJECT,) = re.findall(r"```toml\n(.*?)```", PAGE, re.S)
(TASK,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Lay the package out as pip does, on a path of its own."""

    def lay(code=STATISTIC):
        project = tomllib.loads(PROJECT)
        (module,) = project["tool"]["setuptools"]["py-modules"]
        (group,) = project["project"]["entry-points"].items()
        folder = tmp_path / "site"
        info = folder / f"{module}-1.0.dist-info"
        info.mkdir(parents=True, exist_ok=True)
        (folder / f"{module}.py").write_text(code)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        lines = [f"{name} = {value}" for name, value in group[1].items()]
        (info / "entry_points.txt").write_text("\n".join([f"[{group[0]}]", *lines]) + "\n")
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.delitem(sys.modules, module, raising=False)
        installed_statistics.cache_clear()

    yield lay
    installed_statistics.cache_clear()


def answered(share, *, n=400, seed=0):
    """(gold, said, parsed) of n questions, of which about `share` are answered as they should."""
    rng = np.random.default_rng(seed)
    gold = rng.random(n) < 0.8
    right, parsed = rng.random(n) < share, rng.random(n) < 0.98
    return gold, np.where(right, gold, ~gold) & parsed, parsed


def result(share):
    gold, said, parsed = (one.tolist() for one in answered(share))
    scores = [float(g == s and p) for g, s, p in zip(gold, said, parsed, strict=True)]
    return suite_result(scores, statistic="balanced_accuracy", gold=gold, said=said, parsed=parsed)


def test_the_statistic_scores_what_lmms_eval_scores(install):
    install()
    gold, said, parsed = answered(0.9)
    judged = [
        Judged(str(i // 4), float(g == s and p), gold=bool(g), said=bool(s), parsed=bool(p))
        for i, (g, s, p) in enumerate(zip(gold, said, parsed, strict=True))
    ]
    words = {True: "yes", False: "no"}
    page = {}
    exec(LMMS_EVAL, page)
    exec(JUDGE, page)
    records = [
        page["process_results"](
            {"answer": words[one.gold]}, [f" {words[one.said]}." if one.parsed else "other"]
        )["balanced"]
        for one in judged
    ]
    assert [record["score"] for record in records] == [one.score for one in judged]
    measured = estimate(find_statistic("balanced_accuracy"), judged)
    assert measured.score == pytest.approx(page["balanced_accuracy"](records))
    assert measured.low < measured.score < measured.high
    always_yes = [Judged(one.cluster, 0.0, gold=one.gold, said=True) for one in judged]
    assert estimate(find_statistic("balanced_accuracy"), always_yes).score == 0.5


def test_two_variants_are_compared_and_judged_under_it(install):
    install()
    paired = compare(result(0.7), result(0.95), metric("balanced_accuracy"))
    assert paired.high < 0
    assert paired.p < 0.01
    assert paired.test == "permutation"
    assert non_inferior({"s": result(0.7)}, {"s": result(0.95)}, 5, "reference").verdict == "fail"
    assert non_inferior({"s": result(0.9)}, {"s": result(0.9)}, 1, "reference").verdict == "pass"


def test_it_is_a_column_of_the_leaderboard_with_differences(install, tmp_path):
    install()
    store = tmp_path / "runs"
    for key, high, share in (("fp", "none", 0.95), ("two", "gptq-2", 0.7)):
        add_cell(store, key=key, method=key, high=high, variant=key)
        own = result(share)
        score = estimate(find_statistic("balanced_accuracy"), judged_of(own.answers)).score
        change_result(
            store, key, answers=own.answers, metrics=[metric("balanced_accuracy", score=score)]
        )
    board, _ = write_report(store)
    lines = {line.label: line for line in board.lines}
    (shown,) = lines["two"].scores.values()
    assert lines["two"].mean.value == pytest.approx(shown.value) == pytest.approx(70, abs=5)
    assert lines["two"].vs_full.mean.points == pytest.approx(
        lines["two"].mean.value - lines["fp"].mean.value
    )
    assert f"{shown.text} [{shown.interval}]" in (store / "leaderboard.md").read_text()
    assert ",permutation," in (store / "comparisons.csv").read_text()


def judged_of(answers: list[Answer]):
    return [
        Judged(a.cluster, a.scores["score"], gold=a.gold, said=a.said, parsed=a.parsed)
        for a in answers
    ]


def test_the_task_file_of_the_page_names_the_statistic():
    assert "balanced: {statistic: balanced_accuracy, primary: true}" in TASK
    assert "balanced_accuracy" not in STATISTICS


def test_without_the_package_a_result_is_named_and_left_out(tmp_path):
    installed_statistics.cache_clear()
    add_cell(tmp_path)
    add_cell(tmp_path, key="c2", method="gptq2", high="gptq-2")
    change_result(tmp_path, "c1", metrics=[metric("balanced_accuracy")])
    board, _ = write_report(tmp_path)
    assert [line.label for line in board.lines] == ["gptq2"]
    (problem,) = board.problems
    assert problem.path.endswith("rc1/result.json")
    assert "unknown statistic 'balanced_accuracy'" in problem.reason
    assert "install the package" in problem.reason


def test_a_name_that_exists_and_an_object_that_is_no_statistic_are_refused(install):
    install(STATISTIC.replace('Statistic("balanced_accuracy"', 'Statistic("mean"'))
    with pytest.raises(ValueError, match="is called 'mean', and so is another statistic"):
        find_statistic("balanced_accuracy")
    install("BALANCED_ACCURACY = 3\n")
    with pytest.raises(ValueError, match="is no reports"):
        find_statistic("balanced_accuracy")


def test_statistics_of_the_house_need_no_other_package():
    assert find_statistic("mean") is STATISTICS["mean"]
    assert all(name == one.name for name, one in STATISTICS.items())
