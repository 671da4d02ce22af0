"""Beside full precision and 4 bits: the right reference, the difference that the leaderboard's
means show, the noise below it.
"""

import csv

import numpy as np
import pytest

from reports.records.results import SuiteResult, to_json
from reports.report.noise import noise_floors
from reports.report.write import write_report
from tests.reports.report.test_leaderboard import add_cell
from tests.reports.statistics.test_paired import result


def add(root, key, scores, **cell):
    """A cell with these answers, one a picture, and their mean as its score."""
    mean = float(np.mean(scores))
    add_cell(root, key=key, score=mean, variant=key, n=len(scores), **cell)
    path = root / "results" / f"r{key}" / "result.json"
    kept = SuiteResult.model_validate_json(path.read_text())
    answers = [
        answer.model_copy(update={"scores": {"f1": answer.scores["score"]}})
        for answer in result(scores).answers
    ]
    path.write_text(to_json(kept.model_copy(update={"answers": answers})))


def lines(root):
    return {line.label: line for line in write_report(root)[0].lines}


@pytest.fixture
def three(tmp_path):
    add(
        tmp_path,
        "fp",
        [1] * 190 + [0] * 10,
        method="fp",
        high="none",
        stored_bits=16,
        stored_bytes=1600,
    )
    add(tmp_path, "four", [1] * 180 + [0] * 20, method="gptq4", stored_bytes=415)
    add(
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
    found = lines(three)
    assert found["fp"].full is None
    assert found["gptq4"].four is None
    assert (found["gptq2"].full.reference, found["gptq2"].four.reference) == ("fp", "gptq4")
    assert (
        found["gptq2"].full.mean.points
        == pytest.approx(found["gptq2"].mean.value - found["fp"].mean.value)
        == pytest.approx(-45)
    )
    assert found["gptq2"].four.mean.points == pytest.approx(-40)
    assert found["gptq2"].full.mean.low < -45 < found["gptq2"].full.mean.high


def test_the_four_bit_reference_is_calibrated_like_the_variant_where_there_is_one(three):
    add(three, "text4", [1] * 150 + [0] * 50, method="gptq4", alpha=0.0)
    add(three, "text2", [1] * 90 + [0] * 110, method="gptq2", high="gptq-2", alpha=0.0)
    add(three, "other", [1] * 90 + [0] * 110, method="gptq3", high="gptq-3", alpha=0.25)
    found = lines(three)
    assert found["gptq2, alpha 0"].four.reference == "gptq4, alpha 0"
    assert found["gptq2, alpha 0.5"].four.reference == "gptq4, alpha 0.5"
    assert found["gptq3"].four is not None


def test_the_front_is_by_stored_bytes_and_nothing_on_it_is_beaten(three):
    add(three, "worse", [1] * 170 + [0] * 30, method="rtn4", high="rtn-4", stored_bytes=415)
    add(
        three,
        "noise",
        [1] * 195 + [0] * 5,
        method="fp_perturbed",
        high="none-0.0039",
        stored_bits=16,
        stored_bytes=1600,
    )
    assert [label for label, line in lines(three).items() if line.front] == ["fp", "gptq4", "gptq2"]


def test_the_comparisons_are_also_a_table(three):
    write_report(three)
    with (three / "comparisons.csv").open() as file:
        rows = {(row["variant"], row["reference"]): row for row in csv.DictReader(file)}
    row = rows["gptq2", "fp"]
    assert float(row["difference"]) == pytest.approx(-0.45)
    assert row["test"] == "exact McNemar"
    assert float(row["p_holm"]) < 1e-9
    assert int(row["clusters"]) == 200


def test_the_noise_floor_is_the_spread_between_repeats(tmp_path):
    rng = np.random.default_rng(0)
    means = []
    for seed in range(5):
        scores = (rng.random(400) < 0.9).astype(int).tolist()
        means.append(100 * np.mean(scores))
        add(tmp_path, f"s{seed}", scores, method="gptq2", high="gptq-2", calibration_seed=seed)
    add(tmp_path, "once", [1] * 400, method="gptq4")
    (noise,) = noise_floors(write_report(tmp_path)[0].lines)
    assert (noise.label, noise.repeats) == ("gptq2", 5)
    assert noise.deviation == pytest.approx(np.std(means, ddof=1))
    assert noise.low < noise.deviation < noise.high
    assert noise.floor == pytest.approx(1.96 * np.sqrt(2) * noise.deviation)
    assert "Noise floor" in (tmp_path / "report" / "index.html").read_text()


@pytest.mark.parametrize("repeats", [3, 5])
def test_the_interval_of_a_deviation_holds_the_true_one_nineteen_times_in_twenty(repeats):
    from reports.report.noise import _deviation, _interval

    rng, held = np.random.default_rng(1), 0
    for _ in range(400):
        low, high = _interval(_deviation(rng.normal(0, 2.0, repeats)), repeats)
        held += low <= 2.0 <= high
    assert 360 <= held <= 395
