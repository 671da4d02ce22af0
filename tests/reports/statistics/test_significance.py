"""Tests of one difference, and the correction for several."""

import numpy as np
import pytest
from scipy import stats
from scipy.stats import binomtest

from reports.statistics.significance import exact_test, holm, permutation_test

RNG = np.random.default_rng(0)


def share(first, second):
    """Difference of the shares, from (right, answers) each."""
    return first[..., 0] / first[..., 1] - second[..., 0] / second[..., 1]


def clusters(right, answers=None):
    return np.stack([right, np.ones(len(right)) if answers is None else answers], axis=1)


def test_the_exact_test_is_the_binomial_test_of_the_clusters_on_which_the_two_differ():
    first = clusters([1.0] * 12 + [0.0] * 3 + [1.0] * 40)
    second = clusters([0.0] * 12 + [1.0] * 3 + [1.0] * 40)
    p, name = exact_test(first, second, share, RNG)
    assert (p, name) == (pytest.approx(binomtest(12, 15, 0.5).pvalue), "exact McNemar")
    assert exact_test(first, first, share, RNG)[0] == 1


def test_clusters_that_are_partly_right_are_tested_by_permutation():
    half = clusters([0.5, 1.0])
    pair = clusters([1.0, 1.0], [2, 2])
    for one in (half, pair):
        assert exact_test(one, one, share, RNG)[1] == "exact permutation"


@pytest.mark.parametrize(("count", "name"), [(9, "exact permutation"), (60, "permutation")])
def test_exchanges_give_the_p_of_scipys_permutation_test(count, name):
    rng = np.random.default_rng(count)
    one, other = rng.random(count) + 0.15, rng.random(count)
    oracle = stats.permutation_test(
        (one, other),
        lambda first, second: np.mean(first) - np.mean(second),
        permutation_type="samples",
        n_resamples=20_000,
        rng=0,
    )
    p, test = permutation_test(clusters(one), clusters(other), share, RNG)
    assert test == name
    assert p == pytest.approx(oracle.pvalue, rel=1e-9 if count == 9 else 0.35)


def test_r39_no_p_is_below_what_the_clusters_that_differ_allow():
    for count in range(1, 9):
        alike = clusters([0.5] * 30)
        better = clusters([0.9] * count + [0.5] * (30 - count))
        assert permutation_test(better, alike, share, RNG)[0] == pytest.approx(2.0 ** (1 - count))
    assert permutation_test(alike, alike, share, RNG)[0] == 1


def test_holms_correction():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx(
        {"a": 0.03, "b": 0.06, "c": 0.06}
    )
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}
