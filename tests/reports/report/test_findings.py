"""The paper's claims are tested on what a store holds."""

from reports.records.results import Block
from reports.report.findings import findings
from reports.report.write import write_report
from tests.reports.builders import add_cell, change_result, suite_result

BLOCK = Block(kept="x", paper_bits=1.0, stored_bits=1.0)
LUQ = {
    "method": "luq",
    "low": "billm-code",
    "high": "gptq-4",
    "k": 2,
    "blocks": [BLOCK] * 4,
    "paper_bits": 2.54,
    "stored_bytes": 3580,
}


def test_claims_are_tested_on_every_model_that_has_the_variants(tmp_path):
    for suite in ("a", "b"):
        add_cell(tmp_path, key=f"e{suite}", suite=suite, variant="e", **LUQ)
        add_cell(tmp_path, key=f"d{suite}", suite=suite, variant="d", **{**LUQ, "order": "depth"})
        add_cell(
            tmp_path,
            key=f"g{suite}",
            suite=suite,
            variant="g",
            method="gptq3",
            high="gptq-3",
            paper_bits=3,
            stored_bytes=3148,
        )
    by_claim = {
        one.claim: (one.measured, one.verdict) for one in findings(write_report(tmp_path)[0].lines)
    }
    assert by_claim["LUQ is smaller than GPTQ-3"] == (
        "15.3% smaller by paper bits, 13.7% larger by stored bytes",
        "holds on paper bits only",
    )
    assert by_claim["LUQ is better than GPTQ-3"][1] == "undecided"  # the same answers
    assert by_claim["The entropy order is better than deepest first"][1] == "undecided"
    assert "GPTQ at 2 bits scores nothing" not in by_claim


def test_perplexities_decide_where_a_model_has_a_text(tmp_path):
    for key, order, loss in (("e", "entropy", 2.0), ("d", "depth", 2.1)):
        add_cell(tmp_path, key=key, suite="text", variant=key, **{**LUQ, "order": order})
        losses = [loss + 0.01 * (i % 5) for i in range(40)]
        text = suite_result(losses, suite="text", statistic="perplexity")
        change_result(tmp_path, key, answers=text.answers, metrics=text.metrics)
    (order,) = [
        one for one in findings(write_report(tmp_path)[0].lines) if "deepest first" in one.claim
    ]
    assert order.verdict == "holds"
    assert order.measured.startswith("perplexity ×0.905")
    assert order.measured.endswith("40 windows")
