"""Labels and scores as tables show them."""

import pytest

from reports.report.lines import bytes_text, shown_score, variant_label
from tests.reports.builders import CELL, metric

LUQ = CELL.model_copy(update={"method": "luq", "low": "billm-code", "k": 4})


@pytest.mark.parametrize(
    ("changes", "label"),
    [
        ({}, "luq k=4"),
        ({"order": "depth"}, "luq k=4, depth"),
        ({"inputs": "graft"}, "luq k=4, graft"),
        ({"k": 0, "order": "depth"}, "luq"),
        ({"low": "none", "method": "gptq4"}, "gptq4"),
        ({"budget_bits": 2.5, "order": "divergence by block"}, "luq 2.5 bits"),
        ({"budget_bits": 2.5, "order": "random-0"}, "luq 2.5 bits, random-0"),
    ],
)
def test_a_label_says_what_differs_from_the_defaults(changes, label):
    assert variant_label(LUQ.model_copy(update=changes)) == label


@pytest.mark.parametrize(
    ("statistic", "score", "maximum", "text", "percent"),
    [
        ("mean", 0.875, 1.0, "87.5", 87.5),
        ("mme", 300.0, 400.0, "300", 75.0),
        ("perplexity", 23.44, 23.44, "23.4", 0.0),
    ],
)
def test_scores_are_shown_in_the_unit_of_their_statistic(statistic, score, maximum, text, percent):
    shown = shown_score(metric(statistic, score=score, maximum=maximum))
    assert shown.text == text
    assert shown.percent[0] == percent
    assert (shown.maximum is None) == (statistic == "perplexity")


def test_no_score_is_shown_as_none():
    assert shown_score(metric().model_copy(update={"score": None})) is None


def test_bytes_are_mebibytes_until_they_are_gibibytes():
    assert bytes_text(3 * 2**19) == "1.50 MiB"
    assert bytes_text(2**30) == "1.00 GiB"
