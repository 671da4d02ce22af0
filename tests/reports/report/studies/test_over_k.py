"""Figures over k compare variants that differ in one thing."""

import re

from tests.reports.builders import change_result, suite_result
from tests.reports.report.studies.builders import add_luq, shown


def test_orders_are_compared_at_equal_k_question_by_question(tmp_path):
    for number, (order, k) in enumerate([(o, k) for o in ("entropy", "depth") for k in (2, 4)]):
        add_luq(tmp_path, number, k, 0.8, order=order)
    page, text = shown(tmp_path)
    assert "Order of the blocks" in page
    assert re.search(r"\| depth \| \+0\.0 \[-\d+\.\d, \+\d+\.\d\] \|", text)


def test_orders_that_choose_the_same_blocks_are_called_the_same_model(tmp_path):
    for number, order in enumerate(("entropy", "depth")):
        add_luq(tmp_path, number, 2, 0.8, order=order, variant="same")
    assert "| depth | same model |" in shown(tmp_path)[1]


def test_text_against_mixed_calibration_over_k(tmp_path):
    for number, (alpha, k) in enumerate([(a, k) for a in (0.0, 0.5) for k in (0, 2, 4, 8)]):
        add_luq(tmp_path, number, k, 0.8, alpha=alpha)
    assert "Text against mixed calibration" in shown(tmp_path)[0]


def test_perplexities_are_compared_by_their_ratio(tmp_path):
    for number, (order, loss) in enumerate((("entropy", 2.0), ("depth", 2.1))):
        add_luq(tmp_path, number, 2, 0.8, order=order, suite="text")
        text = suite_result([loss, loss], suite="text", statistic="perplexity")
        change_result(tmp_path, f"c{number}", answers=text.answers, metrics=text.metrics)
    page, markdown = shown(tmp_path)
    assert "ratios of perplexity of every order" in page
    assert "| depth | ×1.11 [1.11, 1.11] |" in markdown
