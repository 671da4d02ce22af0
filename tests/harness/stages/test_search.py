import dataclasses

import pytest
from safetensors.torch import load_file

from harness.config.compose import compose
from harness.errors import ConfigError
from harness.evaluation.pictures.data import mini_data
from harness.progress import SILENT
from harness.stages.base import Job
from harness.stages.search import stage as search
from harness.stages.search.threshold import ThresholdSearch
from harness.variants.calibration_run import open_run
from harness.variants.export import export_model
from harness.variants.sizes import language_model_bytes
from harness.variants.variant import make_variant
from reports.report.read import read_measurements
from tasks.mini import suites

OPTIONS = [
    "stage=search",
    "method.order=depth",
    "method.low=rtn2",
    "method.high=rtn4",
    "search.suite=mini_pope",
]


@pytest.fixture(autouse=True)
def small_suites(monkeypatch):
    real = suites.suite_dataset
    monkeypatch.setattr(
        suites, "suite_dataset", lambda suite, **options: real(suite, **{**options, "count": 48})
    )
    monkeypatch.setattr(suites, "QUESTIONS", 48)


def run(store, *options):
    """(exit code, the search that was kept)."""
    config = compose([*OPTIONS, f"store={store.root}", *options])
    outcome = search.run([Job(config, (), "python -m harness")], SILENT)
    (found,), problems = read_measurements(store.root)
    assert not problems
    return outcome.exit_code, found


def planted(monkeypatch, scores):
    """Every k scores what the list says, give or take one point."""
    monkeypatch.setattr(
        ThresholdSearch, "_score", lambda self, k, count: (scores[k], scores[k] - 1, scores[k] + 1)
    )
    monkeypatch.setattr(ThresholdSearch, "_violations", lambda self: [])


@pytest.mark.parametrize(("tau", "k"), [(84.5, 3), (90, 0), (30, 8)])
def test_the_largest_k_that_reaches_the_threshold_is_found_by_both_searches(
    store, monkeypatch, tau, k
):
    planted(monkeypatch, [90, 88, 86, 85, 80, 75, 70, 60, 40])
    code, found = run(store, f"search.tau={tau}")
    assert (code, found.binary, found.scan) == (0, k, k)
    assert len(found.binary_asked) < len(found.asked) == 9
    assert len(found.language_model_bytes) == 9


def test_the_scan_sees_a_k_that_holds_again_and_bisection_does_not(store, monkeypatch):
    planted(monkeypatch, [90, 88, 86, 85, 70, 70, 89, 60, 40])
    _, found = run(store, "search.tau=84.5")
    assert (found.binary, found.scan) == (3, 6)


def test_a_threshold_that_no_k_reaches_is_a_stated_outcome(store, monkeypatch):
    planted(monkeypatch, [90, 88, 86, 85, 80, 75, 70, 60, 40])
    code, found = run(store, "search.tau=99")
    assert (code, found.scan) == (1, None)
    assert "no k reaches it; the best is k=0 with 90.0" in found.text


def test_an_interval_that_decides_ends_the_asking_early_and_a_close_one_asks_all(
    store, monkeypatch
):
    planted(monkeypatch, [90, 88, 86, 85, 80, 75, 70, 60, 40])
    _, found = run(store, "search.tau=84.5")
    asked = {a.k: a for a in found.asked}
    assert asked[8].questions == asked[0].questions == 6
    assert asked[8].decided
    assert (asked[3].questions, asked[3].decided) == (48, False)


def test_real_scores_of_the_selection_split_decide_and_are_kept_apart_from_the_leaderboard(store):
    code, found = run(store, "search.tau=3", "search.relative=true")
    assert code == 0
    assert found.binary is not None
    assert found.asked[0].score == 0  # what k=0 loses to itself
    assert not (store.root / "cells").exists()
    for asked in found.asked:
        assert asked.holds == (asked.score >= -3)
    scores = {a.k: a.score for a in found.asked}
    if all(a.questions == 48 for a in found.asked):
        assert found.violations == [k for k in range(1, 9) if scores[k] > scores[k - 1]]


def test_the_selection_split_shares_no_picture_with_the_reported_one(store):
    def hashes(seed):
        ((_, folder),) = mini_data(store, ["mini_pope"], seed).folders
        rows = suites.datasets.load_from_disk(str(folder))["test"]
        return {row["image"].tobytes() for row in rows}

    reported, selection = hashes(suites.SEED), hashes(suites.SELECTION_SEED)
    assert len(reported) == len(selection) == 8
    assert not reported & selection


def test_the_smallest_k_within_a_budget_of_bytes(store):
    _, at = run(store, "search.rule=budget", "search.budget_mib=2.2")
    sizes = at.language_model_bytes
    assert at.scan == min(k for k in range(9) if sizes[k] <= 2.2 * 2**20)
    assert 0 < at.scan < 8
    assert sizes == sorted(sizes, reverse=True)


def test_a_budget_beyond_the_largest_model_is_k_0_and_one_below_the_smallest_an_error(store):
    _, found = run(store, "search.rule=budget", "search.budget_mib=100")
    assert found.scan == 0
    assert "already the model with no block low is within it" in found.text
    with pytest.raises(
        ConfigError,
        match=(
            r"search.budget_mib=1.0: a budget of .* MiB with every block low and .* MiB with none"
        ),
    ):
        run(store, "search.rule=budget", "search.budget_mib=1")


def test_bytes_of_the_language_model_are_those_that_an_export_writes(store, tmp_path):
    config = compose([*OPTIONS[1:], f"store={store.root}"])
    bench = open_run(config)
    variant = make_variant(bench, dataclasses.replace(config.method, k=4), config.entropy)
    export_model(tmp_path / "packed", bench.loaded, variant, "x")
    (written,) = (tmp_path / "packed").glob("*.safetensors")
    inside = {
        name: t
        for name, t in load_file(written).items()
        if "vision_tower" not in name and "multi_modal_projector" not in name
    }
    assert len(inside) > 8 * 7
    assert language_model_bytes(bench.loaded, variant) == sum(
        t.numel() * t.element_size() for t in inside.values()
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "search.rule=threshold needs search.tau"),
        (["search.rule=budget"], "search.rule=budget needs search.budget_mib"),
        (["search.rule=best"], "search.rule is 'best'"),
        (["search.tau=80", "search.split=test"], "the mini suites have `selection` for this"),
        (["search.tau=80", "search.metric=f1"], "search.metric is 'f1'; POPE has"),
        (["search.tau=-1", "search.relative=true"], "the number of points that may be lost"),
        (["search.tau=80", "method=gptq4"], "such as method=luq"),
    ],
)
def test_searches_that_cannot_be_are_refused(store, options, said):
    given = [o for o in OPTIONS if not (o.startswith("method") and "method=gptq4" in options)]
    with pytest.raises(ConfigError, match=said):
        search.run([Job(compose([*given, f"store={store.root}", *options]), (), "")], SILENT)
