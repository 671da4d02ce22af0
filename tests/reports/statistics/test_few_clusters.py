"""Under the null, few questions accuse nobody: whatever the statistic, p and intervals hold."""

import numpy as np
import pytest
from scipy.stats import binom

from reports.statistics.paired import compare
from reports.statistics.perplexity import perplexity_ratio
from reports.statistics.registry import STATISTICS
from tests.reports.builders import suite_result

EACH = {"mean": 3, "graded": 1, "mme": 2, "circular": 4, "mean_f1": 3, "f1": 3, "right": 1}
RUNS = 200
MOST = int(binom.ppf(0.999, RUNS, 0.05))  # false alarms of a test that has them in one of twenty


def alike(rng, kind, clusters):
    """Answers of two variants that differ by chance alone; MME and POPE in three groups each."""
    each = EACH[kind]
    of = np.arange(clusters).repeat(each)
    ability = rng.beta(2, 1, clusters).repeat(each)
    gold = rng.random(len(of)) < 0.5
    given = {"clusters": of, "statistic": kind if kind in STATISTICS else "mean"}
    if kind in ("mme", "mean_f1"):
        given["group"] = [("a", "b", "c")[cluster % 3] for cluster in of]
    for _ in range(2):
        right = rng.random(len(of)) < ability
        scores = rng.beta(2, 1, len(of)) * right if kind == "graded" else right.astype(float)
        said = np.where(right, gold, ~gold)
        yield suite_result(scores.tolist(), gold=gold.tolist(), said=said.tolist(), **given)


def alarms(kind, clusters, runs):
    """How often p is below 0.05, and how often the interval leaves out no difference."""
    rng = np.random.default_rng(clusters)
    significant = outside = 0
    for _ in range(runs):
        first, second = alike(rng, kind, clusters)
        paired = compare(first, second, first.metrics[0])
        significant += paired.p < 0.05
        outside += not paired.low <= 0 <= paired.high
    return significant, outside


def test_every_statistic_of_answers_is_tried():
    assert {name for name, one in STATISTICS.items() if one.averaged} <= set(EACH)


@pytest.mark.parametrize("kind", EACH)
def test_r39_up_to_four_clusters_never_raise_an_alarm(kind):
    for clusters in (1, 2, 3, 4):
        assert alarms(kind, clusters, 20) == (0, 0)


@pytest.mark.parametrize("kind", EACH)
@pytest.mark.parametrize("clusters", [8, 20])
def test_r39_false_alarms_are_at_most_one_in_twenty(kind, clusters):
    assert max(alarms(kind, clusters, RUNS)) <= MOST


@pytest.mark.parametrize("windows", [1, 2, 3, 4, 8, 20])
def test_r39_few_windows_of_text_raise_an_alarm_at_most_once_in_twenty(windows):
    rng = np.random.default_rng(windows)
    outside = 0
    for _ in range(RUNS):
        losses = rng.normal(2, 0.3, windows)
        first, second = (
            suite_result(losses + rng.normal(0, 0.1, windows), statistic="perplexity")
            for _ in range(2)
        )
        ratio = perplexity_ratio(first, second)
        outside += not ratio.low <= 1 <= ratio.high
    assert outside <= MOST
