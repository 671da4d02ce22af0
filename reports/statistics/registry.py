"""The statistics by name: one entry each, or an entry point of another package."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from importlib.metadata import entry_points

import numpy as np

from reports.statistics.resampling import Floats
from reports.statistics.significance import exact_test
from reports.statistics.statistic import LARGEST_EXPONENT, PLAIN, POINTS, Judged, Statistic

GROUP = "reports.statistics"  # of entry points, whose objects are a `Statistic` each


def ratio(sums: Floats) -> Floats:
    """First feature over second, 0 where there is nothing to count."""
    return sums[..., 0] / np.maximum(sums[..., 1], 1)


def mean_over_groups(scores: Floats) -> Floats:
    """Mean of the groups' scores."""
    mean: Floats = scores.mean(axis=-1)
    return mean


def sum_over_groups(scores: Floats) -> Floats:
    """Sum of the groups' scores."""
    total: Floats = scores.sum(axis=-1)
    return total


def _score_and_count(cluster: Sequence[Judged]) -> tuple[float, float]:
    return sum(a.score for a in cluster), len(cluster)


def _all_right(cluster: Sequence[Judged]) -> tuple[float, float]:
    return all(a.score == 1 for a in cluster), 1


def _accuracy_and_pair(cluster: Sequence[Judged]) -> tuple[float, float]:
    accuracy = 100 * sum(a.score for a in cluster) / len(cluster)
    return accuracy + 100 * all(a.score == 1 for a in cluster), 1


def _true_positives(cluster: Sequence[Judged]) -> tuple[float, float]:
    """2 TP, and 2 TP + FP + FN; where "yes" is right, an answer that is neither is a miss."""
    hits = 2 * sum(a.gold and a.said for a in cluster)
    return hits, sum(a.gold for a in cluster) + sum(a.said for a in cluster)


def _parsed_true_positives(cluster: Sequence[Judged]) -> tuple[float, float]:
    """The same as lmms-eval counts it, without positives that are neither "yes" nor "no"."""
    hits = 2 * sum(a.gold and a.parsed and a.said for a in cluster)
    return hits, sum(a.gold and a.parsed for a in cluster) + sum(a.said for a in cluster)


def _exp_of_mean(sums: Floats) -> Floats:
    value: Floats = np.exp(np.minimum(ratio(sums), LARGEST_EXPONENT))
    return value


# Mean of the answers' scores.
MEAN = Statistic("mean", _score_and_count, ratio, paired_test=exact_test)
# Share of circular groups in which every rotation is right (MMBench).
CIRCULAR = Statistic("circular", _all_right, ratio, paired_test=exact_test)
# Sum over categories of accuracy plus accuracy of whole pairs, in per cent (MME).
MME = Statistic(
    "mme", _accuracy_and_pair, ratio, over_groups=sum_over_groups, maximum=200.0, unit=POINTS
)
# Mean over splits of F1 = 2 TP / (2 TP + FP + FN) of "yes" (POPE).
MEAN_F1 = Statistic("mean_f1", _true_positives, ratio, over_groups=mean_over_groups)
# F1 of "yes" over all splits together, as lmms-eval counts it.
F1 = Statistic("f1", _parsed_true_positives, ratio)
# exp of the mean loss, in nats a token, of windows of equal length.
PERPLEXITY = Statistic(
    "perplexity",
    _score_and_count,
    _exp_of_mean,
    maximum=None,
    unit=PLAIN,
    lower_is_better=True,
    items="windows",
)

STATISTICS = {one.name: one for one in (MEAN, CIRCULAR, MME, MEAN_F1, F1, PERPLEXITY)}


@functools.cache
def installed_statistics() -> dict[str, Statistic]:
    """Statistics of other packages, by name.

    Raises:
        ValueError: an entry point is no `Statistic`, or takes a name that exists.
    """
    installed: dict[str, Statistic] = {}
    for point in entry_points(group=GROUP):
        statistic = point.load()
        where = f"entry point {point.name} ({point.value}) of {GROUP}"
        if not isinstance(statistic, Statistic):
            raise ValueError(f"{where} is no reports.statistics.statistic.Statistic")
        if statistic.name in STATISTICS or statistic.name in installed:
            raise ValueError(
                f"{where} is called {statistic.name!r}, and so is another statistic; rename one"
            )
        installed[statistic.name] = statistic
    return installed


def find_statistic(name: str) -> Statistic:
    """The statistic of that name.

    Raises:
        ValueError: there is none, or one that is installed cannot be used.
    """
    if name in STATISTICS:
        return STATISTICS[name]
    installed = installed_statistics()
    if name not in installed:
        raise ValueError(
            f"unknown statistic {name!r}; choose one of {', '.join([*STATISTICS, *installed])}, or"
            " install the package that defines it"
        )
    return installed[name]
