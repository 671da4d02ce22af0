"""The noise floor is the spread between repeats."""

import numpy as np
import pytest

from reports.report.noise import noise_floors
from reports.report.write import write_report
from tests.reports.builders import add_answers, change_result, metric


def test_the_noise_floor_is_the_spread_between_repeats(tmp_path):
    rng = np.random.default_rng(0)
    means = []
    for seed in range(5):
        scores = (rng.random(400) < 0.9).astype(int).tolist()
        means.append(100 * np.mean(scores))
        add_answers(
            tmp_path, f"s{seed}", scores, method="gptq2", high="gptq-2", calibration_seed=seed
        )
    add_answers(tmp_path, "once", [1] * 400, method="gptq4")
    (noise,) = noise_floors(write_report(tmp_path)[0].lines)
    assert (noise.label, noise.repeats) == ("gptq2", 5)
    assert noise.deviation == pytest.approx(np.std(means, ddof=1))
    assert noise.low < noise.deviation < noise.high
    assert noise.floor == pytest.approx(1.96 * np.sqrt(2) * noise.deviation)
    assert "Noise floor" in (tmp_path / "report" / "index.html").read_text()


@pytest.mark.parametrize("repeats", [3, 5])
def test_the_interval_of_a_deviation_holds_the_true_one_nineteen_times_in_twenty(repeats):
    from reports.report.noise import _deviation, _deviation_interval

    rng, held = np.random.default_rng(1), 0
    for _ in range(400):
        low, high = _deviation_interval(_deviation(rng.normal(0, 2.0, repeats)), repeats)
        held += low <= 2.0 <= high
    assert 360 <= held <= 395


def test_a_perplexity_is_no_share_of_a_maximum_and_has_no_deviation_in_points(tmp_path):
    for seed in range(2):
        for suite in ("a", "t"):
            add_answers(tmp_path, f"{suite}{seed}", [1, 0], suite=suite, calibration_seed=seed)
            change_result(tmp_path, f"{suite}{seed}", suite=suite, suite_title=suite)
        text = metric("perplexity", name="token_perplexity", score=9.0 + seed, maximum=99.0)
        change_result(tmp_path, f"t{seed}", metrics=[text])
    (noise,) = noise_floors(write_report(tmp_path)[0].lines)
    assert list(noise.suites) == ["a"]
