"""Scores of a suite from judged answers, with 95 % intervals clustered by picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

RESAMPLES = 2000
LEVEL = 0.95
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """One judged answer. group:

    MME's category or POPE's split; gold, said: whether "yes" is right, whether it was said; parsed:
    whether the answer was a "yes" or a "no" at all.
    """

    cluster: str
    score: float
    group: str = ""
    gold: bool = False
    said: bool = False
    parsed: bool = True


@dataclass(frozen=True)
class Estimate:
    score: float
    low: float
    high: float
    n: int
    maximum: float


# A statistic is a function of sums over clusters: (features of each cluster (clusters, f), from
# summed features (..., f) to a score (...)).
_Statistic = tuple[Floats, Callable[[Floats], Floats]]


def _by_cluster(answers: Sequence[Judged]) -> list[list[Judged]]:
    found: dict[tuple[str, str], list[Judged]] = {}
    for answer in answers:
        found.setdefault((answer.group, answer.cluster), []).append(answer)
    return list(found.values())


def _ratio(sums: Floats) -> Floats:
    return sums[..., 0] / np.maximum(sums[..., 1], 1)


def _mean(answers: Sequence[Judged]) -> _Statistic:
    return (
        np.array([[sum(a.score for a in c), len(c)] for c in _by_cluster(answers)], dtype=float),
        _ratio,
    )


def _circular(answers: Sequence[Judged]) -> _Statistic:
    """A circular group counts when every rotation is right (MMBench)."""
    return (
        np.array([[all(a.score == 1 for a in c), 1] for c in _by_cluster(answers)], dtype=float),
        _ratio,
    )


def _mme(answers: Sequence[Judged]) -> _Statistic:
    """Sum over categories of accuracy plus accuracy of whole pairs, in per cent (MME)."""
    groups = sorted({a.group for a in answers})
    features = np.zeros((len(_by_cluster(answers)), 2 * len(groups)))
    for row, pair in zip(features, _by_cluster(answers), strict=True):
        place = 2 * groups.index(pair[0].group)
        row[place] = 100 * sum(a.score for a in pair) / len(pair) + 100 * all(
            a.score == 1 for a in pair
        )
        row[place + 1] = 1
    return features, lambda sums: (sums[..., 0::2] / np.maximum(sums[..., 1::2], 1)).sum(axis=-1)


def _mean_f1(answers: Sequence[Judged]) -> _Statistic:
    """Mean over groups of 2 TP / (2 TP + FP + FN) (POPE)."""
    groups = sorted({a.group for a in answers})
    features = np.zeros((len(_by_cluster(answers)), 2 * len(groups)))
    for row, cluster in zip(features, _by_cluster(answers), strict=True):
        place = 2 * groups.index(cluster[0].group)
        # An answer that is neither "yes" nor "no" is a miss where "yes" is right.
        row[place] = 2 * sum(a.gold and a.said for a in cluster)
        row[place + 1] = sum(a.gold for a in cluster) + sum(a.said for a in cluster)
    return features, lambda sums: (sums[..., 0::2] / np.maximum(sums[..., 1::2], 1)).mean(axis=-1)


def _lmms_f1(answers: Sequence[Judged]) -> _Statistic:
    """F1 of "yes" over all splits together as lmms-eval counts it: positives whose answer is
    neither "yes" nor "no" are left out.
    """
    return _mean_f1([dataclasses.replace(a, gold=a.gold and a.parsed) for a in answers])


def _perplexity(answers: Sequence[Judged]) -> _Statistic:
    """exp of the mean loss of windows of equal length; a window's score is its loss in nats a
    token.
    """
    features = np.array(
        [[sum(a.score for a in c), len(c)] for c in _by_cluster(answers)], dtype=float
    )
    return features, lambda sums: np.exp(
        np.minimum(_ratio(sums), 700)
    )  # beyond that no number holds it


STATISTICS: dict[str, Callable[[Sequence[Judged]], _Statistic]] = {
    "mean": _mean,
    "circular": _circular,
    "mme": _mme,
    "mean_f1": _mean_f1,
    "f1": _lmms_f1,
    "perplexity": _perplexity,
}
GROUPED = ("mme", "mean_f1")  # the others look at all answers together


def estimate(kind: str, answers: Sequence[Judged], *, seed: int = 0) -> Estimate:
    """Score and 95 % interval of one metric. kind: name in STATISTICS; the unit is the metric's
    own: 0 to 1, and for MME 0 to 200 for each category that was asked.

    The interval is a percentile bootstrap over clusters (pictures, pairs or circular groups), drawn
    within MME's categories and POPE's splits. Where all clusters are alike (everything right,
    everything wrong, always "yes") the bootstrap has nothing to draw from; then the interval is
    what remains possible if a share of clusters that may yet differ, 1 - 0.025^(1/clusters), scored
    nothing or everything: for all right and all wrong this is the exact Clopper-Pearson interval.
    Raises ValueError without answers.
    """
    if not answers:
        raise ValueError(f"no answers to estimate {kind} from")
    if kind not in STATISTICS:
        raise ValueError(f"unknown statistic {kind!r}; choose one of {', '.join(STATISTICS)}")
    if kind not in GROUPED:
        answers = [dataclasses.replace(a, group="") for a in answers]
    features, score_of = STATISTICS[kind](answers)
    score = float(score_of(features.sum(axis=0)))
    maximum = (
        200.0 * len({a.group for a in answers})
        if kind == "mme"
        else score
        if kind == "perplexity"
        else 1.0
    )
    strata = [cluster[0].group for cluster in _by_cluster(answers)]
    draws = score_of(_resampled_sums(features, strata, np.random.default_rng(seed)))
    tail = (1 - LEVEL) / 2
    if np.ptp(draws) < 1e-9 * maximum:
        other = 1 - tail ** (1 / len(features))
        return Estimate(
            score, (1 - other) * score, score + other * (maximum - score), len(answers), maximum
        )
    low, high = np.percentile(draws, [100 * tail, 100 * (1 - tail)])
    return Estimate(score, float(low), float(high), len(answers), maximum)


@dataclass(frozen=True)
class RankCorrelation:
    rho: float
    low: float
    high: float


def rank_correlation(score: Sequence[float], damage: Floats, *, seed: int = 0) -> RankCorrelation:
    """Spearman's correlation of a score of the blocks with their mean damage, and its 95 %
    percentile interval.

    damage: (blocks, answers). The interval resamples blocks and answers: it says what other blocks
    and other answers might have shown.
    """
    scores, rng = np.asarray(score, dtype=float), np.random.default_rng(seed)
    rho = float(spearmanr(scores, damage.mean(axis=1)).statistic)
    draws = []
    for _ in range(RESAMPLES):
        blocks = rng.integers(len(scores), size=len(scores))
        answers = rng.integers(damage.shape[1], size=damage.shape[1])
        if len(set(scores[blocks])) > 1:  # one block drawn again and again has no ranking
            draws.append(
                float(spearmanr(scores[blocks], damage[blocks][:, answers].mean(axis=1)).statistic)
            )
    tail = (1 - LEVEL) / 2
    low, high = np.percentile(draws, [100 * tail, 100 * (1 - tail)])
    return RankCorrelation(rho, float(low), float(high))


def _resampled_sums(features: Floats, strata: Sequence[str], rng: np.random.Generator) -> Floats:
    """Feature sums of RESAMPLES resamples of the clusters, each stratum resampled to its own size:
    (RESAMPLES, f).
    """
    names = np.asarray(strata)
    total = np.zeros((RESAMPLES, features.shape[1]))
    for name in np.unique(names):
        part = features[names == name]
        weights = rng.multinomial(len(part), np.full(len(part), 1 / len(part)), size=RESAMPLES)
        total += weights @ part
    return total
