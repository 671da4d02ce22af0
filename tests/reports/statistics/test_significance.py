"""Tests of one difference, and the correction for several."""

import numpy as np
import pytest
from scipy.stats import binomtest

from reports.statistics.significance import bootstrap_test, exact_test, holm


def clusters(right, answers=None):
    return np.stack([right, np.ones(len(right)) if answers is None else answers], axis=1)


def test_the_exact_test_is_the_binomial_test_of_the_clusters_on_which_the_two_differ():
    first = clusters([1.0] * 12 + [0.0] * 3 + [1.0] * 40)
    second = clusters([0.0] * 12 + [1.0] * 3 + [1.0] * 40)
    p, name = exact_test(first, second, np.zeros(9))
    assert (p, name) == (pytest.approx(binomtest(12, 15, 0.5).pvalue), "exact McNemar")
    assert exact_test(first, first, np.zeros(9))[0] == 1


def test_clusters_that_are_partly_right_are_tested_by_the_bootstrap():
    half = clusters([0.5, 1.0])
    pair = clusters([1.0, 1.0], [2, 2])
    for one in (half, pair):
        assert exact_test(one, one, np.ones(9))[1] == "bootstrap"


def test_the_bootstrap_doubles_the_share_beyond_zero():
    draws = np.concatenate([np.full(95, 1.0), np.full(4, -1.0)])
    assert bootstrap_test(draws, draws, draws) == (pytest.approx(2 * 5 / 100), "bootstrap")
    assert bootstrap_test(draws, draws, np.zeros(99))[0] == 1


def test_holms_correction():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx(
        {"a": 0.03, "b": 0.06, "c": 0.06}
    )
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}
