"""The paper's claims, recomputed from its own numbers."""

import csv

import pytest

from reports.paper.claims import STORED_HIGH, STORED_LOW, claims
from reports.paper.numbers import BACKBONES
from tests.paths import SHARED

PAPER = SHARED / "paper"
needs_shared = pytest.mark.skipif(not PAPER.is_dir(), reason="needs ../shared/paper")
VERDICTS = {  # of paper/claims_check.csv in its order, and ours
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
    by_claim = {claim.claim: claim for claim in claims()}
    saving = by_claim["LLaVA-1.5-7B: LUQ-16 needs less memory than 4 bits, by"]
    assert (saving.paper_value, saving.paper_bits, saving.stored) == ("40 %", "36.5%", "13.9%")
    smaller = by_claim["Qwen2.5-VL-7B: LUQ-12 is smaller than GPTQ at 3 bits, by"]
    assert (smaller.paper_bits, smaller.stored) == ("8.4% smaller", "16% larger")
    assert (
        "3.37 GiB"
        in by_claim["Qwen2.5-VL-7B: the deployed model of 3.4 GB has, in bits a weight"].stored
    )


def test_the_stored_bits_behind_the_claims_are_those_of_real_variants():
    """Of the plan made from each model's own shapes, which is tested against packed tensors."""
    from harness.config.compose import compose
    from harness.variants.sizes import sizes_of, variant_size

    for backbone in BACKBONES:
        config = compose([f"model={backbone.config}", "method=luq", f"method.k={backbone.k}"])
        sizes = sizes_of(config.model.path, None)
        assert (config.model.path, sizes.blocks) == (backbone.repository, backbone.blocks)
        stored = backbone.mean_bits(STORED_LOW, STORED_HIGH)
        assert variant_size(config, sizes).stored_bits == pytest.approx(stored, abs=2e-3)
