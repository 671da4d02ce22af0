"""Ratios of perplexities, window by window."""

import numpy as np
import pytest
from scipy import stats

from reports.statistics.perplexity import perplexity_ratio, text_statistic
from reports.statistics.registry import PERPLEXITY
from tests.reports.builders import suite_result

RNG = np.random.default_rng(0)
LOSSES = RNG.normal(2, 0.3, 200)


def text(losses):
    return suite_result(losses, statistic="perplexity")


def test_the_ratio_is_exp_of_the_mean_change_of_the_loss():
    ratio = perplexity_ratio(text(LOSSES + 0.1), text(LOSSES))
    assert ratio.ratio == pytest.approx(np.exp(0.1))
    assert (ratio.low, ratio.high) == (pytest.approx(ratio.ratio), pytest.approx(ratio.ratio))
    assert ratio.windows == 200
    assert ratio.statistic.lower_is_better
    assert str(ratio) == "×1.11 [1.11, 1.11]"


def test_the_interval_is_that_of_the_paired_change():
    changed = LOSSES + 0.1 + RNG.normal(0, 0.02, 200)
    ratio = perplexity_ratio(text(changed), text(LOSSES))
    assert 1.08 < ratio.low < ratio.ratio < ratio.high < 1.13
    student = stats.ttest_rel(changed, LOSSES).confidence_interval(0.95)
    assert (ratio.low, ratio.high) == (
        pytest.approx(np.exp(student.low)),
        pytest.approx(np.exp(student.high)),
    )


def test_r39_one_window_says_nothing_about_others():
    ratio = perplexity_ratio(text([2.5]), text([2.0]))
    assert (ratio.low, ratio.high) == (0, np.inf)
    assert str(ratio) == "×1.65 [0.00, inf]"


def test_only_common_windows_count_and_none_in_common_is_an_error():
    assert perplexity_ratio(text([2.0, 2.1, 9.0]), text([2.0, 2.1])).windows == 2
    with pytest.raises(ValueError, match="no window in common"):
        perplexity_ratio(text([2.0]), text([]))
    with pytest.raises(ValueError, match="no window in common"):
        perplexity_ratio(suite_result([1]), suite_result([1]))


def test_a_suite_of_questions_is_no_text():
    assert text_statistic(text([2.0])) is PERPLEXITY
    assert text_statistic(suite_result([1])) is None
