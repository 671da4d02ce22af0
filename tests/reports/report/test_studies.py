import re

import pytest

from reports.records.measurements import Asked, Correlation, Entropy, Orders, Search, Stability
from reports.records.results import to_json
from reports.report.write import write_report
from tests.reports.report.test_leaderboard import add_cell

ORIGIN = {
    "model": "mini",
    "alpha": 0.5,
    "calibration_seed": 0,
    "tokens": 8195,
    "image_token_share": 0.275,
    "command": "python -m harness",
}


def add_measurement(root, found, key="m"):
    (root / "measurements" / key).mkdir(parents=True)
    (root / "measurements" / key / "measurement.json").write_text(to_json(found))


def shown(root):
    write_report(root)
    return (root / "report" / "index.html").read_text(), (root / "leaderboard.md").read_text()


def luq(root, number, k, score, **changes):
    add_cell(
        root,
        key=f"c{number}",
        method="luq",
        k=k,
        score=score,
        low="billm-code",
        variant=f"v{number}",
        **changes,
    )


def test_orders_are_compared_at_equal_k_question_by_question(tmp_path):
    for number, (order, k) in enumerate([(o, k) for o in ("entropy", "depth") for k in (2, 4)]):
        luq(tmp_path, number, k, 0.8, order=order)
    page, text = shown(tmp_path)
    assert "Order of the blocks" in page
    assert re.search(r"\| depth \| \+0\.0 \[\+0\.0, \+0\.0\] \|", text)


def test_orders_that_choose_the_same_blocks_are_called_the_same_model(tmp_path):
    luq(tmp_path, 1, 2, 0.8, order="entropy")
    luq(
        tmp_path,
        2,
        2,
        0.8,
        order="depth",
    )
    cell = next((tmp_path / "cells" / "c2").glob("*.json"))
    cell.write_text(cell.read_text().replace('"v2"', '"v1"'))
    assert "| depth | same model |" in shown(tmp_path)[1]


def test_mixtures_and_inputs_have_their_figures_and_one_value_has_none(tmp_path):
    for number, alpha in enumerate((0.0, 0.5, 1.0)):
        luq(tmp_path, number, 4, 0.8, alpha=alpha)
    luq(tmp_path, 10, 4, 0.8, inputs="graft")
    page, _ = shown(tmp_path)
    assert "Calibration mixture" in page
    assert "Inputs of calibration" in page
    assert "Order of the blocks" not in page
    assert "Text against mixed calibration" not in page


def test_text_against_mixed_calibration_over_k(tmp_path):
    for number, (alpha, k) in enumerate([(a, k) for a in (0.0, 0.5) for k in (0, 2, 4, 8)]):
        luq(tmp_path, number, k, 0.8, alpha=alpha)
    assert "Text against mixed calibration" in shown(tmp_path)[0]


def test_measurements_are_shown_with_what_they_say(tmp_path):
    bits = [[6.0, 6.1], [6.2, 6.3]]
    add_measurement(
        tmp_path,
        Entropy(
            **ORIGIN,
            at="output",
            of_tokens="image",
            drop=0.001,
            clusters=100,
            init="k-means++",
            bits=bits,
            seed_tau=0.67,
        ),
        "e",
    )
    add_measurement(
        tmp_path,
        Stability(
            **ORIGIN,
            grid=[10, 20, 30],
            changes=[0.2, 0.1],
            seed_tau=[0.5, 0.6, 0.7],
            seeds=5,
            clusters=None,
            rule="no elbow",
        ),
        "s",
    )
    orders = Orders(
        **ORIGIN,
        low="billm-code",
        answers=256,
        scores={"depth": [1, 0], "damage": [0.2, 0.1]},
        orders={"depth": [1, 0], "damage": [1, 0]},
        correlations={"depth": Correlation(rho=0.6, low=0.17, high=0.86)},
        same_sets=[("damage", "depth", [1])],
    )
    add_measurement(tmp_path, orders, "o")
    asked = [
        Asked(
            k=3, score=85, low=83, high=87, questions=64, holds=True, decided=False, stored_bytes=9
        )
    ]
    search = Search(
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
        asked=asked,
        binary_asked=[3],
        violations=[],
        language_model_bytes=[9],
        text="by full scan k = 3",
    )
    add_measurement(tmp_path, search, "q")
    page, text = shown(tmp_path)
    for said in (
        "image tokens, output, without the largest 0.1%",
        "no K by the rule (no elbow)",
        "+0.60 [+0.17, +0.86]",
        "by full scan k = 3",
    ):
        assert said in page
        assert said in text
    assert page.count("<svg") == 2
    assert "holds no results yet" not in page


@pytest.mark.parametrize("damage", ["{", '{"kind": "oracle"}', "[]"])
def test_a_measurement_that_cannot_be_read_is_named_and_the_others_are_shown(tmp_path, damage):
    add_measurement(
        tmp_path,
        Stability(
            **ORIGIN,
            grid=[10, 20, 30],
            changes=[0.2, 0.1],
            seed_tau=[1, 1, 1],
            seeds=5,
            clusters=20,
            rule="elbow",
        ),
        "good",
    )
    (tmp_path / "measurements" / "bad").mkdir()
    (tmp_path / "measurements" / "bad" / "measurement.json").write_text(damage)
    page, _ = shown(tmp_path)
    assert "Stability of the ranking over K" in page
    assert "measurements/bad/measurement.json" in page


def test_r22_names_inside_figures_and_tables_are_escaped(tmp_path):
    for number, order in enumerate(("entropy", "<script>alert(1)</script>", "$x$")):
        luq(tmp_path, number, 2, 0.8, order=order)
    page, _ = shown(tmp_path)
    assert page.count("<script") == 1  # its own
