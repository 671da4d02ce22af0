"""Scores and intervals: right on planted answers, and as wide as they claim."""

import numpy as np
import pytest
from scipy import stats

from reports.statistics.estimate import estimate
from reports.statistics.registry import CIRCULAR, F1, MEAN, MEAN_F1, MME, PERPLEXITY
from reports.statistics.statistic import Judged


def singles(scores):
    return [Judged(str(i), float(s)) for i, s in enumerate(scores)]


def test_a_mean_is_the_mean_and_lies_in_its_interval():
    scores = np.random.default_rng(0).random(80)
    measured = estimate(MEAN, singles(scores))
    assert measured.score == pytest.approx(scores.mean())
    assert measured.low < measured.score < measured.high
    assert measured.n == 80


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        measured = estimate(MEAN, singles(rng.random(100) < 0.7))
        hits += measured.low <= 0.7 <= measured.high
    assert 0.90 <= hits / 200 <= 0.99


def test_clusters_widen_the_interval_where_answers_go_together():
    rng = np.random.default_rng(2)
    right = rng.random(40) < 0.5
    together = [Judged(str(i), float(r)) for i, r in enumerate(right) for _ in range(5)]
    apart = [Judged(f"{i}-{j}", float(r)) for i, r in enumerate(right) for j in range(5)]
    wide, narrow = estimate(MEAN, together), estimate(MEAN, apart)
    assert wide.score == narrow.score
    assert (wide.high - wide.low) > 1.8 * (narrow.high - narrow.low)


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_all_right_and_all_wrong_have_the_exact_binomial_interval(score):
    measured = estimate(MEAN, singles([score] * 30))
    exact = stats.binomtest(round(30 * score), 30).proportion_ci(0.95, method="exact")
    assert (measured.low, measured.high) == (pytest.approx(exact.low), pytest.approx(exact.high))


def test_a_model_that_always_says_yes_has_an_interval_too():
    answers = [
        Judged(str(i), float(gold), "random", gold=gold, said=True)
        for i in range(20)
        for gold in (True, False)
    ]
    measured = estimate(MEAN_F1, answers)
    assert measured.score == pytest.approx(2 / 3)
    assert measured.low < 2 / 3 < measured.high


def test_mme_counts_questions_and_whole_pairs_by_category():
    pairs = {
        ("count", "a"): (1, 1),
        ("count", "b"): (1, 0),
        ("color", "c"): (0, 0),
        ("color", "d"): (1, 1),
    }
    answers = [
        Judged(cluster, score, group) for (group, cluster), pair in pairs.items() for score in pair
    ]
    measured = estimate(MME, answers)
    assert measured.score == pytest.approx((75 + 50) + (50 + 50))
    assert measured.maximum == 400


def test_a_circular_group_counts_only_when_every_rotation_is_right():
    answers = [Judged("a", 1.0)] * 4 + [Judged("b", s) for s in (1.0, 1.0, 0.0, 1.0)]
    assert estimate(CIRCULAR, answers).score == 0.5


def test_pope_averages_f1_over_its_splits():
    rng = np.random.default_rng(3)
    answers = [
        Judged(str(i), 0.0, split, gold=bool(rng.random() < 0.5), said=bool(rng.random() < 0.6))
        for split in ("adversarial", "popular", "random")
        for i in range(50)
    ]

    def f1(part):
        tp = sum(a.gold and a.said for a in part)
        return (
            2
            * tp
            / (
                2 * tp
                + sum(a.said and not a.gold for a in part)
                + sum(a.gold and not a.said for a in part)
            )
        )

    by_split = [
        f1([a for a in answers if a.group == s]) for s in ("adversarial", "popular", "random")
    ]
    assert estimate(MEAN_F1, answers).score == pytest.approx(np.mean(by_split))
    assert estimate(F1, answers).score == pytest.approx(f1(answers))


def test_silence_on_positives_is_a_miss_for_us_and_left_out_by_lmms_eval():
    answers = [Judged(str(i), 0.0, gold=True, said=i < 5, parsed=i < 5) for i in range(10)]
    assert estimate(MEAN_F1, answers).score == pytest.approx(2 * 5 / (5 + 10))
    assert estimate(F1, answers).score == 1.0


def test_no_answers_are_refused():
    with pytest.raises(ValueError, match="no answers to estimate mean"):
        estimate(MEAN, [])


def test_perplexity_is_exp_of_the_mean_loss_and_has_no_maximum_but_itself():
    losses = np.random.default_rng(4).normal(2, 0.3, 50)
    measured = estimate(PERPLEXITY, [Judged(str(i), loss) for i, loss in enumerate(losses)])
    assert measured.score == measured.maximum == pytest.approx(np.exp(losses.mean()))
    student = stats.ttest_1samp(losses, 0).confidence_interval(0.95)
    assert (measured.low, measured.high) == pytest.approx(tuple(np.exp(student)))
    alone = estimate(PERPLEXITY, [Judged("0", 2.0)])
    assert (alone.low, alone.high) == (0, pytest.approx(np.exp(700)))


def test_r39_a_category_of_one_pair_leaves_room_for_other_pairs():
    """Bootstrapped, it would be as sure as a category of hundreds."""
    known = [Judged(str(i), float(i % 3 > 0), "known") for i in range(400)]
    few = [Judged("a", 1.0, "few"), Judged("a", 1.0, "few")]
    measured = estimate(MME, known + few)
    assert measured.score - measured.low >= 200 * (1 - 0.025)
    assert measured.high - measured.score < 40


def test_r39_few_clusters_widen_an_interval_beyond_their_percentiles():
    """Student's interval of the mean is the independent measure."""
    scores = np.random.default_rng(6).uniform(0.4, 0.6, 8)
    measured = estimate(MEAN, singles(scores))
    student = stats.ttest_1samp(scores, 0).confidence_interval(0.95)
    assert measured.low <= student.low
    assert measured.high >= student.high


def test_groups_of_a_statistic_without_groups_change_nothing():
    scores = np.random.default_rng(5).random(60)
    plain = [Judged(str(i), score) for i, score in enumerate(scores)]
    labelled = [Judged(str(i), score, "ab"[i % 2]) for i, score in enumerate(scores)]
    assert estimate(MEAN, plain) == estimate(MEAN, labelled)
