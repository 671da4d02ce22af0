"""Every study that a store can answer is shown, and no other."""

import pytest

from reports.records.measurements import Stability
from tests.reports.report.studies.builders import ORIGIN, add_luq, add_measurement, shown


def test_mixtures_and_inputs_have_their_figures_and_one_value_has_none(tmp_path):
    for number, alpha in enumerate((0.0, 0.5, 1.0)):
        add_luq(tmp_path, number, 4, 0.8, alpha=alpha)
    add_luq(tmp_path, 10, 4, 0.8, inputs="graft")
    page, _ = shown(tmp_path)
    assert "Calibration mixture" in page
    assert "Inputs of calibration" in page
    assert "Order of the blocks" not in page
    assert "Text against mixed calibration" not in page


def test_studies_of_several_models_name_theirs(tmp_path):
    add_luq(tmp_path, 1, 2, 0.8)
    assert "Score against size</h3>" in shown(tmp_path)[0]
    add_luq(tmp_path, 2, 2, 0.8, model="other")
    page, _ = shown(tmp_path)
    assert "Score against size (mini)" in page
    assert "Score against size (other)" in page


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
        add_luq(tmp_path, number, 2, 0.8, order=order)
    page, _ = shown(tmp_path)
    assert page.count("<script") == 1  # its own
