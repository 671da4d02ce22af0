"""One measurement: its kind decides its fields, and others are refused."""

import pytest

from reports.records.measurements import Stability, read_measurement
from reports.records.schema import NewerSchema, to_json

STABILITY = Stability(
    model="mini",
    alpha=0.5,
    calibration_seed=0,
    tokens=8195,
    image_token_share=0.275,
    command="python -m harness",
    grid=[10, 20],
    changes=[0.2],
    seed_tau=[0.5, 0.6],
    seeds=5,
    clusters=None,
    rule="no elbow",
)


def test_a_measurement_comes_back_as_its_own_kind(tmp_path):
    path = tmp_path / "measurement.json"
    path.write_text(to_json(STABILITY))
    assert read_measurement(path) == STABILITY


@pytest.mark.parametrize("kind", ["oracle", "entropy"])
def test_another_kind_with_these_fields_is_refused(tmp_path, kind):
    path = tmp_path / "measurement.json"
    path.write_text(to_json(STABILITY).replace('"stability"', f'"{kind}"'))
    with pytest.raises(ValueError, match=kind):
        read_measurement(path)


def test_a_newer_measurement_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / "measurement.json"
    path.write_text(to_json(STABILITY).replace('"schema_version": 1', '"schema_version": 9'))
    with pytest.raises(NewerSchema, match="update luq-harness"):
        read_measurement(path)
