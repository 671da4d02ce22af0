"""A statistic as one object: what it sums up, what can be had, how it is shown."""

import numpy as np
import pytest

from reports.statistics.registry import MEAN_F1, MME, PERPLEXITY, STATISTICS
from reports.statistics.statistic import PER_CENT, PLAIN, POINTS, Judged, Statistic

ANSWERS = [
    Judged("a", 1.0, "count", gold=True, said=True),
    Judged("a", 0.0, "count", gold=True, said=False),
    Judged("b", 1.0, "color", gold=False, said=False),
]


@pytest.mark.parametrize("name", STATISTICS)
def test_every_statistic_is_a_function_of_sums_over_clusters(name):
    """Whole answers twice are the sums twice, so ratios do not move; resampling relies on it."""
    statistic = STATISTICS[name]
    features = statistic.tabulate(ANSWERS)
    assert len(features.values) == len(features.groups) == 2
    sums = features.values.sum(axis=0)
    once = statistic.score_of(sums, features.group_count)
    stacked = statistic.score_of(np.stack([sums, 2 * sums]), features.group_count)
    assert stacked.shape == (2,)
    assert stacked == pytest.approx([float(once)] * 2)


def test_groups_have_columns_of_their_own_and_a_maximum_each():
    features = MME.tabulate(ANSWERS)
    assert features.groups == ("count", "color")
    assert features.values.tolist() == [[0, 0, 50, 1], [200, 1, 0, 0]]
    assert MME.maximum_of(features.group_count) == 400
    assert MEAN_F1.maximum_of(2) == 1
    assert PERPLEXITY.maximum_of(1) is None


def test_lower_is_better_only_where_nothing_is_averaged():
    with pytest.raises(ValueError, match="count what is right"):
        Statistic("errors", lambda _: (0, 1), lambda sums: sums[..., 0], lower_is_better=True)
    assert not PERPLEXITY.averaged


@pytest.mark.parametrize(
    ("unit", "value", "text", "difference"),
    [
        (PER_CENT, 96.04, "96.0", "+96.0"),
        (PER_CENT, -0.04, "-0.0", "-0.0"),
        (POINTS, 1360.4, "1360", "+1360"),
        (PLAIN, 23.456, "23.5", "+23.5"),
        (PLAIN, 12345.6, "12,346", "+12,346"),
    ],
)
def test_scores_are_shown_in_their_unit(unit, value, text, difference):
    assert unit.text(value) == text
    assert unit.signed(value) == difference
