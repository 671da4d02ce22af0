"""Calibration data of the embedded world."""

import hashlib
import itertools
import json

from tasks.mini import calibration


def test_a_version_draws_the_same_data_for_ever():
    """Where this changes, stored statistics are of other data: raise `calibration.VERSION`."""
    data = [
        [prompt for _, prompt in itertools.islice(calibration.picture_prompts(0), 200)],
        [rest for _, *rest in itertools.islice(calibration.answered_prompts(0), 200)],
        list(itertools.islice(calibration.texts(0, 5), 50)),
    ]
    digests = [hashlib.sha256(json.dumps(part).encode()).hexdigest()[:16] for part in data]
    assert digests == ["9c018df2d73f1d7c", "5e74e0e203aabd88", "8c9b663cc3443c01"]


def test_measured_scores_and_calibration_look_at_other_pictures():
    calibrated, held_out = (
        {picture.tobytes() for picture, *_ in itertools.islice(stream, 200)}
        for stream in (calibration.picture_prompts(0), calibration.answered_prompts(0))
    )
    assert len(calibrated) == len(held_out) == 200
    assert not calibrated & held_out
