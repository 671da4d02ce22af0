"""Measurements are shown with their numbers, as a figure, a table or both."""

from reports.records.measurements import (
    Correlation,
    Entropy,
    Orders,
    Search,
    Stability,
    Trial,
)
from reports.report.studies.correlations import correlations
from reports.report.studies.entropy import entropy_by_depth
from reports.report.studies.search import search
from reports.report.studies.stability import stability
from tests.reports.report.studies.builders import ORIGIN, add_measurement, shown

ENTROPY = Entropy(
    **ORIGIN,
    at="output",
    of_tokens="image",
    drop=0.001,
    clusters=100,
    init="k-means++",
    bits=[[6.2, 6.3], [6.0, 6.1]],
    seed_tau=0.67,
)
STABILITY = Stability(
    **ORIGIN,
    grid=[10, 20, 30],
    changes=[0.2, 0.1],
    seed_tau=[0.5, 0.6, 0.7],
    seeds=5,
    clusters=None,
    rule="no elbow",
)
ORDERS = Orders(
    **ORIGIN,
    low="billm-code",
    answers=256,
    scores={"depth": [1, 0], "damage": [0.2, 0.1]},
    orders={"depth": [1, 0], "damage": [1, 0]},
    correlations={"depth": Correlation(rho=0.6, low=0.17, high=0.86)},
    same_sets=[("damage", "depth", [1]), ("damage", "entropy", [])],
)
TRIAL = Trial(
    k=3, score=85, low=83, high=87, questions=64, holds=True, decided=False, stored_bytes=9
)
SEARCH = Search(
    **ORIGIN,
    method="luq",
    order="depth",
    inputs="fp",
    rule="threshold",
    suite="mini_mme",
    split="selection",
    threshold=84,
    relative=False,
    budget_bytes=None,
    binary=3,
    scan=3,
    asked=[TRIAL],
    binary_asked=[3],
    violations=[],
    language_model_bytes=[9],
    text="by full scan k = 3",
)


def test_measurements_are_shown_in_page_and_markdown(tmp_path):
    for measurement in (ENTROPY, STABILITY, ORDERS, SEARCH):
        add_measurement(tmp_path, measurement, measurement.kind)
    page, text = shown(tmp_path)
    for part in (
        "image tokens, output, without the largest 0.1%",
        "no K by the rule (no elbow)",
        "+0.60 [+0.17, +0.86]",
        "by full scan k = 3",
    ):
        assert part in page
        assert part in text
    assert page.count("<svg") == 2
    assert "holds no results yet" not in page


def test_the_order_of_the_blocks_begins_with_the_lowest_entropy():
    study = entropy_by_depth([ENTROPY])
    (row,) = study.rows
    assert row == ("image tokens, output, without the largest 0.1%", "100", "0.67", "1 0")
    other = ENTROPY.model_copy(update={"alpha": 0.0})
    labels = [row[0] for row in entropy_by_depth([ENTROPY, other]).rows]
    assert [label.rsplit(", ", 1)[1] for label in labels] == ["alpha 0.5", "alpha 0"]


def test_a_rule_that_chooses_a_k_is_named_with_it():
    assert "no K by the rule" in stability(STABILITY).text
    chosen = STABILITY.model_copy(update={"clusters": 20, "rule": "elbow"})
    assert "K = 20 by the rule (elbow)" in stability(chosen).text


def test_orders_that_choose_the_same_blocks_are_rows_of_their_own():
    assert correlations(ORDERS).rows == [
        ("depth", "+0.60 [+0.17, +0.86]", "1 0"),
        ("damage", "", "1 0"),
        ("damage and depth", "same blocks at k = 1", ""),
    ]


def test_every_k_of_a_search_is_a_row():
    assert search(SEARCH).rows == [("3", "85.0 [83.0, 87.0]", "64", "yes", "all questions")]
