"""Comparisons with full precision and 4 bits: the right reference, and the difference of the means
that the leaderboard shows.
"""

import csv

import pytest

from reports.report.write import write_report
from tests.reports.builders import add_answers


def lines(root):
    return {line.label: line for line in write_report(root)[0].lines}


@pytest.fixture
def three(tmp_path):
    add_answers(
        tmp_path,
        "fp",
        [1] * 190 + [0] * 10,
        method="fp",
        high="none",
        stored_bits=16,
        stored_bytes=1600,
    )
    add_answers(tmp_path, "four", [1] * 180 + [0] * 20, method="gptq4", stored_bytes=415)
    add_answers(
        tmp_path,
        "two",
        [1] * 100 + [0] * 100,
        method="gptq2",
        high="gptq-2",
        stored_bits=2.14,
        stored_bytes=214,
    )
    return tmp_path


def test_differences_are_those_of_the_means_to_full_precision_and_to_four_bits(three):
    by_label = lines(three)
    assert by_label["fp"].vs_full is None
    assert by_label["gptq4"].vs_four is None
    assert (by_label["gptq2"].vs_full.reference, by_label["gptq2"].vs_four.reference) == (
        "fp",
        "gptq4",
    )
    assert (
        by_label["gptq2"].vs_full.mean.points
        == pytest.approx(by_label["gptq2"].mean.value - by_label["fp"].mean.value)
        == pytest.approx(-45)
    )
    assert by_label["gptq2"].vs_four.mean.points == pytest.approx(-40)
    assert by_label["gptq2"].vs_full.mean.low < -45 < by_label["gptq2"].vs_full.mean.high


def test_the_four_bit_reference_is_calibrated_like_the_variant_where_there_is_one(three):
    add_answers(three, "text4", [1] * 150 + [0] * 50, method="gptq4", alpha=0.0)
    add_answers(three, "text2", [1] * 90 + [0] * 110, method="gptq2", high="gptq-2", alpha=0.0)
    add_answers(three, "other", [1] * 90 + [0] * 110, method="gptq3", high="gptq-3", alpha=0.25)
    by_label = lines(three)
    assert by_label["gptq2, alpha 0"].vs_four.reference == "gptq4, alpha 0"
    assert by_label["gptq2, alpha 0.5"].vs_four.reference == "gptq4, alpha 0.5"
    assert by_label["gptq3"].vs_four is not None


def test_pareto_optimal_variants_are_beaten_by_none_in_stored_bytes_and_score(three):
    add_answers(three, "worse", [1] * 170 + [0] * 30, method="rtn4", high="rtn-4", stored_bytes=415)
    add_answers(
        three,
        "noise",
        [1] * 195 + [0] * 5,
        method="fp_perturbed",
        high="none-0.0039",
        stored_bits=16,
        stored_bytes=1600,
    )
    assert [label for label, line in lines(three).items() if line.pareto_optimal] == [
        "fp",
        "gptq4",
        "gptq2",
    ]


def test_the_comparisons_are_also_a_table(three):
    write_report(three)
    with (three / "comparisons.csv").open() as file:
        rows = {(row["variant"], row["reference"]): row for row in csv.DictReader(file)}
    row = rows["gptq2", "fp"]
    assert float(row["difference"]) == pytest.approx(-0.45)
    assert row["test"] == "exact McNemar"
    assert float(row["p_holm"]) < 1e-9
    assert int(row["clusters"]) == 200
