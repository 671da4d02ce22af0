"""Calibration data and suites must be disjoint: by the ids of rows, by split, picture and text.

Splits other than training are refused where a source is opened, pictures where they are asked about
(`EvaluationContext.calibration_pictures`): a picture may turn up in another data set under any
name. Rows and lines are compared here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from harness.config.schema import CalibrationConfig
from harness.data.image_text_sources import image_text_source
from harness.data.text_sources import text_source
from harness.errors import ConfigError
from harness.evaluation.suite import Suite

LONG = 80  # characters from which on a line that two texts share is no coincidence


def refuse_overlap(calibration: CalibrationConfig, suites: Iterable[Suite]) -> None:
    """Refuse calibration data that shares rows or text with a suite.

    Raises:
        ConfigError: Names the source, the suite and an example of what they share.
    """
    for suite in suites:
        if overlap := suite.overlap(calibration):
            raise ConfigError(overlap)


def text_overlap(calibration: CalibrationConfig, suite: str, text: str) -> str:
    """Which long lines the calibration text shares with the text of a suite; "" for none."""
    if calibration.alpha == 1:
        return ""
    source = text_source(calibration.text).text
    shared = _long_lines(source) & _long_lines(text)
    if not shared:
        return ""
    return (
        f"calibration.text={calibration.text} and suite {suite} share {len(shared)} lines, for"
        f" instance {min(shared)[:60]!r}: a model must not be calibrated on what it is evaluated"
        " on. Give the training or validation text as calibration.text=FILE"
    )


def _long_lines(text: str) -> set[str]:
    return {line.strip() for line in text.splitlines() if len(line.strip()) >= LONG}


def row_overlap(calibration: CalibrationConfig, suite: str, docs: Any) -> str:
    """Which rows of the image-text source are rows of a suite, by their ids; "" for none.

    Args:
        calibration: Names the source.
        suite: Name of the suite.
        docs: Its questions, a `datasets.Dataset`.
    """
    if calibration.alpha == 0:
        return ""
    source = image_text_source(calibration.image_text)
    # Numbers name other things in other data sets; the same columns are a sign of the same one.
    if not set(docs.column_names) <= source.columns:
        return ""
    for column, ids in source.ids.items():
        shared = ids & set(map(str, docs[column])) if column in docs.column_names else set()
        if shared:
            return (
                f"calibration.image_text={calibration.image_text} holds {len(shared)} rows that"
                f" suite {suite} asks about, for instance {column} {min(shared)}: calibrate on the"
                " training split"
            )
    return ""
