"""The noise floor: how far scores move when nothing that matters changes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import chi2

from reports.report.labels import settings_of
from reports.report.lines import Line, variant_label
from reports.statistics.resampling import LEVEL


@dataclass(frozen=True)
class Noise:
    """Repeats of one variant that differ in their seed alone.

    The seed is that of the calibration data, or of the perturbation of full precision.

    Attributes:
        repeats: how many there are.
        deviation: standard deviation between repeats of the mean over suites, in points.
        low: lower end of the deviation's 95 % interval, for normal scores.
        high: upper end of it.
        suites: deviation of each score that has a maximum, in per cent of it, by heading.
    """

    model: str
    label: str
    repeats: int
    deviation: float
    low: float
    high: float
    suites: dict[str, float]

    @property
    def floor(self) -> float:
        """Points within which two single runs lie of each other 19 times in 20."""
        return 1.96 * math.sqrt(2) * self.deviation


def noise_floors(lines: Sequence[Line]) -> list[Noise]:
    """The noise of every variant of which two or more seeds were run on equally many questions."""
    groups: dict[tuple[str, str, int, str], list[Line]] = {}
    for line in lines:
        if line.mean is not None:
            settings = {
                name: value
                for name, value in settings_of(line.cell).items()
                if name.split(".")[-1] != "seed"
            }
            key = (line.model, variant_label(line.cell), line.questions, repr(settings))
            groups.setdefault(key, []).append(line)
    return [
        _noise(model, label, group)
        for (model, label, *_), group in groups.items()
        if len({line.cell.calibration_seed for line in group}) > 1
        and len({line.cell.variant for line in group}) > 1  # their weights depend on the seed
    ]


def _noise(model: str, label: str, group: Sequence[Line]) -> Noise:
    means = [line.mean.value for line in group if line.mean is not None]
    deviation = _deviation(means)
    low, high = _deviation_interval(deviation, len(means))
    suites = {}
    for column, score in group[0].scores.items():
        if score.statistic.averaged and all(column in line.scores for line in group):
            suites[column.title] = _deviation([line.scores[column].percent[0] for line in group])
    return Noise(model, label, len(means), deviation, low, high, suites)


def _deviation(values: Sequence[float]) -> float:
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _deviation_interval(deviation: float, repeats: int) -> tuple[float, float]:
    """95 % interval of a standard deviation, from the chi-squared distribution of its square."""
    freedom, tail = repeats - 1, (1 - LEVEL) / 2
    low, high = (deviation * math.sqrt(freedom / chi2.ppf(p, freedom)) for p in (1 - tail, tail))
    return float(low), float(high)
