"""How well a score of the blocks ranks them by damage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from reports.statistics.resampling import RESAMPLES, Floats, interval


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rho with its 95 % interval."""

    rho: float
    low: float
    high: float


def rank_correlation(score: Sequence[float], damage: Floats, *, seed: int = 0) -> RankCorrelation:
    """Spearman's correlation of a score of the blocks with their mean damage.

    The interval resamples blocks and answers: it says what other blocks and other answers might
    have shown.

    Args:
        score: of each block.
        damage: (blocks, answers).
        seed: of the resamples.
    """
    scores, rng = np.asarray(score, dtype=float), np.random.default_rng(seed)
    draws = []
    for _ in range(RESAMPLES):
        blocks = rng.integers(len(scores), size=len(scores))
        answers = rng.integers(damage.shape[1], size=damage.shape[1])
        if len(set(scores[blocks])) > 1:  # one block drawn again and again has no ranking
            draws.append(_rho(scores[blocks], damage[blocks][:, answers]))
    return RankCorrelation(_rho(scores, damage), *interval(np.array(draws), [""] * len(scores)))


def _rho(scores: Floats, damage: Floats) -> float:
    return float(spearmanr(scores, damage.mean(axis=1)).statistic)
