"""The gate's statistics: it passes what is as good, fails what is worse by more than the margin,
and says when it cannot tell.
"""

from xml.etree import ElementTree

import numpy as np
import pytest

from reports.records.gate import Check, GateRun, Measured, judge, junit, non_inferior, verdict_of
from tests.reports.statistics.test_paired import planted, result

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
    found = []
    for _ in range(runs):
        before, after, _ = planted(rng, pictures, 1, loss / 75, agreement)
        found.append(
            non_inferior({"s": result(after)}, {"s": result(before)}, margin, "reference").verdict
        )
    return found


def test_what_is_as_good_passes():
    assert verdicts(0.0).count("pass") >= 54


def test_a_loss_of_the_margin_passes_at_most_once_in_twenty():
    """Non-inferiority's own error: 5 %, give or take chance in 120 runs."""
    assert verdicts(1.0, runs=120).count("pass") <= 12


@pytest.mark.parametrize(("loss", "share"), [(2, 0.5), (4, 0.95)])
def test_losses_beyond_the_margin_fail(loss, share):
    found = verdicts(loss)
    assert found.count("fail") >= share * len(found)
    assert "pass" not in found


def test_few_questions_are_undecided_even_where_all_answers_agree():
    found = non_inferior({"s": result([1] * 50)}, {"s": result([1] * 50)}, 1.0, "reference")
    assert found.verdict == "undecided"
    assert "Too few questions" in found.detail
    assert (
        non_inferior({"s": result([1] * 400)}, {"s": result([1] * 400)}, 1.0, "reference").verdict
        == "pass"
    )


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
    mine, other = measured([1] * 400, layers=(0.0103, 0.0206)), measured([1] * 400)
    assert verdict_of(judge(mine, other, 1.0, role="reference")) == "pass"
    assert verdict_of(judge(mine, other, 1.0, role="earlier")) == "fail"


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


def test_junit_counts_what_was_found_and_takes_any_text():
    checks = [
        Check(group="contract", name="holds", verdict="pass"),
        Check(group="contract", name="<b>&", verdict="fail", detail='NaN\x00 in ]]> "block"\n2'),
        Check(group="answers", name="few", verdict="undecided", detail="too few"),
    ]
    run = GateRun(
        model="m",
        method="<script>",
        baseline=None,
        margin=1,
        seed=0,
        questions=9,
        command="python",
        made_with={},
        checks=checks,
        measured=None,
        verdict=verdict_of(checks),
    )
    suite = ElementTree.fromstring(junit(run).split("\n", 1)[1]).find("testsuite")
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "1", "1")
    assert [case.get("name") for case in suite] == ["holds", "<b>&", "few"]
    assert "NaN in ]]>" in suite[1].find("failure").get("message")
