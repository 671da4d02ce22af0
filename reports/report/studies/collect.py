"""All studies that the cells and measurements of a store can answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from reports.records.measurements import Entropy, Measurement, Orders, Search, Stability
from reports.report.lines import Line
from reports.report.studies.correlations import correlations
from reports.report.studies.entropy import entropy_by_depth
from reports.report.studies.mixture import mixture
from reports.report.studies.noise_floor import noise_floor
from reports.report.studies.over_k import calibrations, inputs, orders
from reports.report.studies.search import search
from reports.report.studies.selection import without_repeats
from reports.report.studies.size import score_against_size
from reports.report.studies.stability import stability
from reports.report.studies.study import Criterion, Study, criteria

OF_VARIANTS: tuple[Callable[[Sequence[Line], Criterion], Study | None], ...] = (
    score_against_size,
    orders,
    inputs,
    calibrations,
    mixture,
)


def collect_studies(lines: Sequence[Line], measurements: Sequence[Measurement]) -> list[Study]:
    """Make the studies of all models that have enough to show."""
    models = list(
        dict.fromkeys([*(line.model for line in lines), *(m.model for m in measurements)])
    )
    return [
        replace(study, title=f"{study.title} ({model})") if len(models) > 1 else study
        for model in models
        for study in _of_model(
            [line for line in lines if line.model == model],
            [one for one in measurements if one.model == model],
        )
    ]


def _of_model(lines: Sequence[Line], measurements: Sequence[Measurement]) -> Iterator[Study]:
    for criterion in criteria(lines):
        scored = without_repeats([line for line in lines if criterion.score(line) is not None])
        for make in OF_VARIANTS:
            if (study := make(scored, criterion)) is not None:
                yield study
    yield from _of_measurements(measurements)
    if (study := noise_floor(lines)) is not None:
        yield study


def _of_measurements(measurements: Sequence[Measurement]) -> Iterator[Study]:
    entropies = [one for one in measurements if isinstance(one, Entropy)]
    if entropies:
        yield entropy_by_depth(entropies)
    for one in measurements:
        if isinstance(one, Stability):
            yield stability(one)
        elif isinstance(one, Orders):
            yield correlations(one)
        elif isinstance(one, Search):
            yield search(one)
