"""JUnit XML counts verdicts and holds any text."""

from xml.etree import ElementTree

from reports.records.gate import Check, GateRun
from reports.report.junit import junit
from reports.statistics.non_inferior import verdict_of


def test_junit_counts_verdicts_and_takes_any_text():
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
