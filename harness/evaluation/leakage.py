"""Nothing that is asked may have been calibrated on: refused by id, by split, by picture and by
text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.config.schema import CalibrationConfig
from harness.data.sources import ImageTextRows, image_text_source, text_source
from harness.errors import ConfigError
from harness.evaluation.picture_suite import Suite
from harness.evaluation.text_suite import TextSuite

LONG = 80  # characters from which on a line that two texts share is no coincidence


def refuse_leakage(config: CalibrationConfig, suites: Mapping[str, Suite | TextSuite]) -> None:
    """Raise ConfigError, naming source and suite, where the calibration's rows are rows of a suite
    or its text is text of a suite.

    Pictures are compared as they are asked about (`LuqModel.calibration_pictures`): a picture may
    turn up in another data set under any name. Splits other than training are refused where a
    source is opened.
    """
    for suite in suites.values():
        if isinstance(suite, TextSuite):
            _refuse_text(config, suite)
        elif config.alpha > 0:
            _refuse_rows(config, suite)


def _refuse_text(config: CalibrationConfig, suite: TextSuite) -> None:
    if config.alpha == 1:
        return
    calibration = getattr(text_source(config.text), "text", "")
    shared = _long_lines(calibration) & _long_lines(suite.text)
    if shared:
        raise ConfigError(
            f"calibration.text={config.text} and suite {suite.name} share {len(shared)} lines, for"
            f" instance {min(shared)[:60]!r}: a model must not be calibrated on what it is measured"
            " by. Give the training or validation text as calibration.text=FILE"
        )


def _long_lines(text: str) -> set[str]:
    return {line.strip() for line in text.splitlines() if len(line.strip()) >= LONG}


def _refuse_rows(config: CalibrationConfig, suite: Suite) -> None:
    source: Any = image_text_source(config.image_text)
    docs = suite.task.eval_docs_no_media
    # Numbers name other things in other data sets; the same columns are a sign of the same one.
    if not isinstance(source, ImageTextRows) or not set(docs.column_names) <= set(
        source.rows.column_names
    ):
        return
    for column, mine in source.ids.items():
        shared = mine & set(map(str, docs[column])) if column in docs.column_names else set()
        if shared:
            raise ConfigError(
                f"calibration.image_text={config.image_text} holds {len(shared)} rows that suite"
                f" {suite.name} asks about, for instance {column} {min(shared)}: calibrate on the"
                " training split"
            )
