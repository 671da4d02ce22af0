"""The noise floor: how far scores move when nothing that matters changes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import chi2

from reports.records.results import variant_label
from reports.report.leaderboard import Line
from reports.statistics.estimate import LEVEL


@dataclass(frozen=True)
class Noise:
    """Repeats of one variant that differ in their seed alone: of the calibration data, or of the
    perturbation of full precision. deviation: standard deviation of the mean over suites between
    repeats, in points, with its 95 % interval (scores taken as normal). suites: by heading, the
    deviation of each.
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
        """Two runs that differ in nothing else lie within this many points of each other 19 times
        in 20.
        """
        return 1.96 * math.sqrt(2) * self.deviation


def noise_floors(lines: Sequence[Line]) -> list[Noise]:
    """Of every variant of which two or more seeds were run."""
    groups: dict[tuple[object, ...], list[Line]] = {}
    for line in lines:
        cell = line.cells[0].cell
        if line.mean is not None:
            groups.setdefault(
                (cell.model, variant_label(cell), cell.low, cell.high, cell.alpha), []
            ).append(line)
    found = []
    for (model, label, *_), group in groups.items():
        if len({line.cells[0].cell.calibration_seed for line in group}) > 1:
            found.append(_noise(str(model), str(label), group))
    return found


def _noise(model: str, label: str, group: Sequence[Line]) -> Noise:
    means = [line.mean.value for line in group if line.mean is not None]
    deviation = _deviation(means)
    low, high = _interval(deviation, len(means))
    suites = {}
    for column in group[0].scores:
        scores = [line.scores[column].percent[0] for line in group if column in line.scores]
        if len(scores) == len(group):
            suites[column.title] = _deviation(scores)
    return Noise(model, label, len(means), deviation, low, high, suites)


def _interval(deviation: float, repeats: int) -> tuple[float, float]:
    """Of a standard deviation, from the chi-squared distribution of its square."""
    freedom, tail = repeats - 1, (1 - LEVEL) / 2
    low, high = (deviation * math.sqrt(freedom / chi2.ppf(p, freedom)) for p in (1 - tail, tail))
    return float(low), float(high)


def _deviation(values: Sequence[float]) -> float:
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
