"""The table of the noise floor."""

from __future__ import annotations

from collections.abc import Sequence

from reports.report.lines import Line
from reports.report.noise import noise_floors
from reports.report.studies.study import Study


def noise_floor(lines: Sequence[Line]) -> Study | None:
    """How far repeats of a variant lie apart; None where nothing was repeated."""
    floors = noise_floors(lines)
    if not floors:
        return None
    text = (
        "How far scores move between repeats that differ in their seed alone: of the calibration"
        " data or, for full precision, of a perturbation of every weight by up to 2⁻⁸, the largest"
        " error of rounding to bfloat16. Deviations are standard deviations between repeats in"
        " points, with their 95 % interval; two single runs of the same variant lie within the"
        " floor of each other 19 times in 20."
    )
    titles = list(floors[0].suites)
    rows = [
        (
            noise.label,
            str(noise.repeats),
            f"{noise.deviation:.2f} [{noise.low:.2f}, {noise.high:.2f}]",
            f"{noise.floor:.2f}",
            *(f"{noise.suites[title]:.2f}" if title in noise.suites else "—" for title in titles),
        )
        for noise in floors
    ]
    head = ("variant", "repeats", "mean over suites", "floor", *titles)
    return Study("Noise floor", text, "", head, rows)
