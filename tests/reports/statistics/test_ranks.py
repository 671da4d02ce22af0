"""Rank correlations find planted ones."""

import numpy as np
import pytest

from reports.statistics.ranks import rank_correlation


def test_rank_correlation_is_one_for_the_damage_itself_and_its_interval_holds_the_estimate():
    rng = np.random.default_rng(0)
    damage = np.arange(12)[:, None] + rng.normal(size=(12, 200))
    mean = damage.mean(axis=1)
    assert rank_correlation(mean, damage).rho == pytest.approx(1)
    assert rank_correlation(-mean, damage).rho == pytest.approx(-1)
    noise = rank_correlation(rng.normal(size=12), damage)
    assert noise.low < noise.rho < noise.high
    assert noise.low < 0 < noise.high
