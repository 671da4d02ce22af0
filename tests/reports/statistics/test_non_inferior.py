"""The gate's statistics: it passes what is as good, fails what is worse by more than the margin,
and says when it cannot tell.
"""

import numpy as np
import pytest

from reports.records.gate import Check, Measured
from reports.statistics.non_inferior import judge, non_inferior, verdict_of
from tests.reports.builders import suite_result as result
from tests.reports.planted import planted

PICTURES = 1400


def measured(scores=None, *, bits=4.156, layers=(0.01, 0.02), method="ours"):
    results = {} if scores is None else {"s": result(scores)}
    return Measured(
        method=method,
        paper_bits=4,
        stored_bits=bits,
        stored_bytes=1000,
        layer_errors=layers,
        results=results,
    )


def verdicts(loss, *, runs=60, pictures=PICTURES, agreement=0.97, margin=1.0):
    rng = np.random.default_rng(3)
    results = []
    for _ in range(runs):
        before, after, _ = planted(rng, pictures, 1, loss / 75, agreement)
        results.append(
            non_inferior({"s": result(after)}, {"s": result(before)}, margin, "reference").verdict
        )
    return results


def test_what_is_as_good_passes():
    assert verdicts(0.0).count("pass") >= 54


def test_a_loss_of_the_margin_passes_at_most_once_in_twenty():
    """Non-inferiority's own error: 5 %, give or take chance in 120 runs."""
    assert verdicts(1.0, runs=120).count("pass") <= 12


@pytest.mark.parametrize(("loss", "share"), [(2, 0.5), (4, 0.95)])
def test_losses_beyond_the_margin_fail(loss, share):
    results = verdicts(loss)
    assert results.count("fail") >= share * len(results)
    assert "pass" not in results


def test_few_questions_are_undecided_even_where_all_answers_agree():
    check = non_inferior({"s": result([1] * 50)}, {"s": result([1] * 50)}, 1.0, "reference")
    assert check.verdict == "undecided"
    assert "Too few questions" in check.detail
    assert (
        non_inferior({"s": result([1] * 400)}, {"s": result([1] * 400)}, 1.0, "reference").verdict
        == "pass"
    )


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize(("ours", "theirs"), [(0, 1), (1, 0), (0.1, 0.9)])
def test_r39_few_questions_are_undecided_whatever_they_say(count, ours, theirs):
    check = non_inferior({"s": result([ours] * count)}, {"s": result([theirs] * count)}, 1.0, "r")
    assert check.verdict == "undecided"


def test_r39_a_window_or_two_are_undecided():
    for losses in ([3.0], [3.0, 3.5]):
        worse, better = (
            {"t": result(values, statistic="perplexity")}
            for values in (losses, [2.0] * len(losses))
        )
        assert non_inferior(worse, better, 5.0, "r").verdict == "undecided"
        assert non_inferior(better, worse, 5.0, "r").verdict == "undecided"


def test_more_stored_bits_than_the_reference_fail_unless_they_are_allowed():
    same = [1, 0] * 400
    checks = judge(measured(same, bits=4.381), measured(same), 1.0, role="reference")
    (bits,) = [check for check in checks if check.group == "bits"]
    assert bits.verdict == "fail"
    assert "gate.more_bits=0.23" in bits.detail
    assert (
        verdict_of(
            judge(measured(same, bits=4.381), measured(same), 1.0, role="reference", more_bits=0.23)
        )
        == "pass"
    )
    assert (
        verdict_of(judge(measured(same, bits=3.0), measured(same), 1.0, role="reference")) == "pass"
    )


def test_planted_layers_may_be_a_little_worse_than_the_reference_and_hardly_than_before():
    candidate, other = measured([1] * 400, layers=(0.0103, 0.0206)), measured([1] * 400)
    assert verdict_of(judge(candidate, other, 1.0, role="reference")) == "pass"
    assert verdict_of(judge(candidate, other, 1.0, role="earlier")) == "fail"


def test_nothing_to_compare_with_is_undecided_and_one_failure_is_a_failure():
    held = Check(group="contract", name="a", verdict="pass")
    assert verdict_of([held]) == "undecided"
    compared = Check(group="answers", name="b", verdict="pass")
    assert verdict_of([held, compared]) == "pass"
    assert (
        verdict_of([held, compared, Check(group="answers", name="c", verdict="undecided")])
        == "undecided"
    )
    assert verdict_of([compared, Check(group="bits", name="d", verdict="fail")]) == "fail"


@pytest.mark.parametrize(("change", "verdict"), [(-0.1, "pass"), (0.2, "fail")])
def test_a_rise_of_perplexity_is_a_loss_in_per_cent(change, verdict):
    losses = np.random.default_rng(0).normal(2, 0.3, 400)
    before, after = (
        {"t": result(values, statistic="perplexity")} for values in (losses, losses + change)
    )
    check = non_inferior(after, before, 5.0, "reference")
    assert check.verdict == verdict
    assert f"{-100 * np.expm1(change):+.2f} per cent of perplexity" in check.detail
