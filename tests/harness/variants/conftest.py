"""Small models and calibrations for variants."""

from __future__ import annotations

import pytest

from harness.config.schema import CalibrationConfig, EntropyConfig
from harness.models.load import LoadedModel, load_model
from harness.store.store import Store
from harness.variants.calibration_run import CalibrationRun

SMALL = CalibrationConfig(sequence=64, tokens=600)
ENTROPY = EntropyConfig(clusters=8, seeds=2)


@pytest.fixture(scope="package")
def narrow(narrow_model) -> LoadedModel:
    """A corner of the embedded model, for where answers do not matter."""
    return load_model.__wrapped__("narrow", str(narrow_model), "float32", "cpu")


@pytest.fixture(scope="module")
def narrow_run(narrow, tmp_path_factory) -> CalibrationRun:
    """A run of the narrow model, with one store for a module."""
    return CalibrationRun(narrow, SMALL, Store(tmp_path_factory.mktemp("narrow")))


@pytest.fixture(scope="module")
def embedded_run(embedded, tmp_path_factory) -> CalibrationRun:
    """A run of the embedded model: what one test of a module quantized, the next finds."""
    return CalibrationRun(embedded, SMALL, Store(tmp_path_factory.mktemp("embedded")))
