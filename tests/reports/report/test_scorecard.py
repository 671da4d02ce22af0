"""The paper beside ours: its own numbers as they were printed, our cells found and marked, its
claims recomputed.
"""

import csv

import pytest

from reports.records.results import Block
from reports.report.claims import LLAVA, QWEN, STORED_HIGH, STORED_LOW, claims, findings
from reports.report.scorecard import SUITES, published, scorecard, tally
from reports.report.write import write_report
from tests.paths import SHARED
from tests.reports.report.test_leaderboard import add_cell

PAPER = SHARED / "paper"
needs_shared = pytest.mark.skipif(not PAPER.is_dir(), reason="needs ../shared/paper")
BLOCK = Block(kept="x", paper_bits=1.0, stored_bits=1.0)


@needs_shared
@pytest.mark.parametrize("table", [1, 2, 3])
def test_the_carried_scores_are_those_of_the_papers_tables(table):
    with (PAPER / f"table{table}.csv").open() as file:
        printed = [
            (r["backbone"], r["method"], float(r["avg_bits"]), r["benchmark"], float(r["score"]))
            for r in csv.DictReader(file)
        ]
    ours = [
        (p.backbone, p.method, p.paper_bits, p.benchmark, p.score)
        for p in published()
        if p.table == table
    ]
    assert ours == printed
    assert all(p.source == f"LUQ, TMLR 2026, table {p.table}" for p in published())


VERDICTS = {  # of paper/claims_check.csv, in its order, beside ours
    "ok": "holds on paper bits only",
    "overstated": "overstated",
    "ok nominal only": "holds on paper bits only",
    "nominal only": "holds on paper bits only",
    "true for Perception only": "holds for perception only",
    "percentage points, mixed tables": "percentage points, from two tables",
    "relative percent": "holds, as relative per cent",
    "reference is FP16 not 4-bit": "to full precision, not to 4 bits",
    "false on 2 of 10": "does not hold",
    "note": "a note: not smaller, not better everywhere",
    "inconsistent": "inconsistent",
    "inconsistent (rows look swapped)": "inconsistent",
    "table 1 row equals text calibration": "table 1 has the text calibration",
    "near-degenerate": "next to nothing",
    "GiB, LM only": "does not hold: other formats than in the tables",
}


@needs_shared
def test_every_recomputed_verdict_is_that_of_the_list_of_claims():
    with (PAPER / "claims_check.csv").open() as file:
        rows = list(csv.DictReader(file))
    wanted = [VERDICTS[row["verdict"]] for row in rows]
    wanted[11] = "inconsistent with table 3"  # the list says no more than "inconsistent"
    assert [claim.verdict for claim in claims()] == wanted


def test_claims_are_recomputed_on_paper_bits_and_on_stored_bytes():
    found = {claim.claim: claim for claim in claims()}
    saving = found["LLaVA-1.5-7B: LUQ-16 needs less memory than 4 bits, by"]
    assert (saving.paper_value, saving.paper_bits, saving.stored) == ("40 %", "36.5%", "13.9%")
    smaller = found["Qwen2.5-VL-7B: LUQ-12 is smaller than GPTQ at 3 bits, by"]
    assert (smaller.paper_bits, smaller.stored) == ("8.4% smaller", "16% larger")
    assert (
        "3.37 GiB"
        in found["Qwen2.5-VL-7B: the deployed model of 3.4 GB has, in bits a weight"].stored
    )


def test_the_stored_bits_behind_the_claims_are_those_of_real_variants():
    """Of the plan made from each model's own shapes, which is tested against packed tensors."""
    from harness.cli.main import compose
    from harness.stages.plan import sizes_of, variant_of

    for model, backbone, k in (("llava15_7b", LLAVA, 16), ("qwen25vl_7b", QWEN, 12)):
        config = compose([f"model={model}", "method=luq", f"method.k={k}"])
        sizes = sizes_of(config.model.path, None)
        ours = (k * STORED_LOW + (sizes.blocks - k) * STORED_HIGH) / sizes.blocks
        assert variant_of(config, sizes).stored_bits == pytest.approx(ours, abs=2e-3)
        assert backbone in {one.backbone for one in published()}


def add(root, suite, metric, score, half=0.01, *, maximum=1.0, **cell):
    """A cell of a paper suite with one metric."""
    key = f"{len(list((root / 'cells').glob('*')) if (root / 'cells').exists() else [])}"
    add_cell(root, key=key, suite=suite, score=score, variant=str(cell), **cell)
    path = root / "results" / f"r{key}" / "result.json"
    text = (
        path.read_text()
        .replace('"f1"', f'"{metric}"')
        .replace('"maximum": 1.0', f'"maximum": {maximum}')
    )
    path.write_text(
        text.replace('"ci_low": 0.7', f'"ci_low": {score - half}').replace(
            '"ci_high": 0.9', f'"ci_high": {score + half}'
        )
    )


def test_our_scores_stand_beside_the_papers_cells_and_are_marked(tmp_path):
    llava = {"model": "llava15_7b", "order": "entropy", "alpha": 0.5}
    add(tmp_path, *SUITES["TextVQA"], 0.565, method="gptq4", high="gptq-4", **llava)
    add(tmp_path, *SUITES["POPE"], 0.9, method="gptq4", high="gptq-4", **llava)
    add(
        tmp_path,
        *SUITES["MME_Perception"],
        1360,
        10,
        maximum=2000,
        method="luq",
        low="billm-code",
        high="gptq-4",
        k=16,
        **llava,
    )
    add(
        tmp_path,
        *SUITES["GQA"],
        0.582,
        method="luq",
        low="billm-code",
        high="gptq-4",
        k=15,
        **llava,
    )
    board, _ = write_report(tmp_path)
    card = scorecard(board.lines)
    marks = {
        (one.published.table, one.published.title, one.published.benchmark): one.mark
        for one in card
        if one.ours
    }
    assert marks == {
        (1, "GPTQ-4", "TextVQA"): "reproduced",
        (3, "GPTQ-4, mixed", "TextVQA"): "reproduced",
        (1, "GPTQ-4", "POPE"): "differs",
        (1, "LUQ-16, entropy", "MME_Perception"): "reproduced",
        (2, "LUQ-16, entropy", "MME_Perception"): "reproduced",
    }
    assert tally(card) == {"reproduced": 4, "differs": 1, "not run": 195}
    assert "4 reproduced, 1 differs, 195 not run" in (tmp_path / "leaderboard.md").read_text()


def test_the_last_printed_place_decides_how_far_rounding_reaches(tmp_path):
    add(tmp_path, *SUITES["TextVQA"], 0.5835, 0.001, model="llava15_7b", method="fp", high="none")
    (one,) = [
        one
        for one in scorecard(write_report(tmp_path)[0].lines)
        if one.ours and one.published.table == 1
    ]
    assert one.mark == "reproduced"  # 58.25 to 58.45 beside a printed 58.2
    add(tmp_path, *SUITES["GQA"], 0.6216, 0.001, model="llava15_7b", method="fp", high="none")
    marks = {
        o.published.benchmark: o.mark
        for o in scorecard(write_report(tmp_path)[0].lines)
        if o.ours and o.published.table == 1
    }
    assert marks == {"TextVQA": "reproduced", "GQA": "differs"}  # 62.06 to 62.26 beside 62.0


def test_claims_that_any_model_can_be_asked_are_asked_of_the_store(tmp_path):
    blocks = [BLOCK] * 4
    luq = {
        "method": "luq",
        "low": "billm-code",
        "high": "gptq-4",
        "k": 2,
        "blocks": blocks,
        "paper_bits": 2.54,
        "stored_bytes": 3580,
    }
    for suite in ("a", "b"):
        add_cell(tmp_path, key=f"e{suite}", suite=suite, variant="e", **luq)
        add_cell(tmp_path, key=f"d{suite}", suite=suite, variant="d", **{**luq, "order": "depth"})
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
    found = {
        one.claim: (one.ours, one.verdict) for one in findings(write_report(tmp_path)[0].lines)
    }
    assert found["LUQ is smaller than GPTQ-3"] == (
        "15.3% smaller by paper bits, 13.7% larger by stored bytes",
        "holds on paper bits only",
    )
    assert found["LUQ is better than GPTQ-3"][1] == "undecided"  # the same answers
    assert found["The entropy order is better than deepest first"][1] == "undecided"
    assert "GPTQ at 2 bits scores nothing" not in found
