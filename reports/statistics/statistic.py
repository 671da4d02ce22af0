"""A statistic: how the judged answers of a suite become one score, and what follows from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from reports.statistics.resampling import Floats, Unseen
from reports.statistics.significance import PairedTest, permutation_test


@dataclass(frozen=True)
class Judged:
    """One judged answer.

    Attributes:
        cluster: what it shares a picture, a pair or a circular group with.
        score: 0 to 1; of a window of text, its loss in nats a token.
        group: MME's category or POPE's split.
        gold: whether "yes" is right.
        said: whether the answer was "yes".
        parsed: whether the answer was "yes" or "no" at all.
    """

    cluster: str
    score: float
    group: str = ""
    gold: bool = False
    said: bool = False
    parsed: bool = True


@dataclass(frozen=True)
class Unit:
    """How scores are shown.

    Attributes:
        name: in words.
        scale: what a score is multiplied by.
        digits: behind the point; None: three significant digits.
    """

    name: str
    scale: float
    digits: int | None

    def text(self, value: float) -> str:
        """A value that is already in this unit."""
        return significant(value) if self.digits is None else f"{value:.{self.digits}f}"

    def signed(self, value: float) -> str:
        """A difference that is already in this unit."""
        return ("-" if math.copysign(1, value) < 0 else "+") + self.text(abs(value))


LARGEST_EXPONENT = 700  # exp of more is no float64
PER_CENT, POINTS, PLAIN = Unit("per cent", 100, 1), Unit("points", 1, 0), Unit("", 1, None)


def significant(value: float) -> str:
    """Three digits, or all of a whole number above a thousand that can be read."""
    if value < 1000:
        return f"{value:#.3g}".rstrip(".")
    return f"{value:,.0f}" if value < 1e15 else f"{value:.1g}"


@dataclass(frozen=True)
class ClusterFeatures:
    """What a statistic sums up.

    Attributes:
        values: a row for each cluster, (clusters, groups * f); zero outside the cluster's group.
        groups: the group of each cluster.
    """

    values: Floats
    groups: tuple[str, ...]

    @property
    def group_count(self) -> int:
        """How many groups there are."""
        return len(set(self.groups))


@dataclass(frozen=True)
class Statistic:
    """How judged answers become one score.

    A statistic is a function of sums over clusters (pictures, pairs, circular groups), so that
    clusters can be resampled. Intervals, paired tests, tables and the gate ask this object and
    nothing else; docs/extending/score.md adds one.

    Attributes:
        name: what `metadata.metrics` of a task file says under `statistic`.
        features: f numbers from the answers of one cluster.
        score: the score from sums of features, (..., f) to (...).
        over_groups: one score from those of the groups (MME's categories, POPE's splits), (...,
            groups) to (...); clusters are then resampled within groups. None: groups do not matter.
        maximum: what can be had, in each group. None: there is no maximum, and the score must be
            the exp of the mean of the answers' scores, such as a perplexity. It then has no place
            in the mean over suites, and two variants are compared by their ratio.
        unit: how scores are shown.
        lower_is_better: only possible without a maximum.
        paired_test: tells whether chance explains the difference of two variants.
        items: what the answers are counted as.

    Raises:
        ValueError: lower is better although there is a maximum.
    """

    name: str
    features: Callable[[Sequence[Judged]], Sequence[float]]
    score: Callable[[Floats], Floats]
    over_groups: Callable[[Floats], Floats] | None = None
    maximum: float | None = 1.0
    unit: Unit = PER_CENT
    lower_is_better: bool = False
    paired_test: PairedTest = permutation_test
    items: str = "questions"

    def __post_init__(self) -> None:
        if self.lower_is_better and self.averaged:
            raise ValueError(
                f"statistic {self.name!r} has a maximum and counts in the mean over suites, where"
                " more is better: count what is right instead of what is wrong"
            )

    @property
    def averaged(self) -> bool:
        """Whether it counts in the mean over suites: only per cent of a maximum can."""
        return self.maximum is not None

    @property
    def grouped(self) -> bool:
        """Whether the groups of answers matter."""
        return self.over_groups is not None

    def tabulate(self, answers: Sequence[Judged]) -> ClusterFeatures:
        """Features of every cluster, in the order in which the clusters first appear."""
        clusters: dict[tuple[str, str], list[Judged]] = {}
        for answer in answers:
            group = answer.group if self.grouped else ""
            clusters.setdefault((group, answer.cluster), []).append(answer)
        groups = tuple(group for group, _ in clusters)
        names = sorted(set(groups))
        rows = [self.features(cluster) for cluster in clusters.values()]
        values = np.zeros((len(rows), len(names) * len(rows[0])))
        for target, row, group in zip(values, rows, groups, strict=True):
            start = len(row) * names.index(group)
            target[start : start + len(row)] = row
        return ClusterFeatures(values, groups)

    def score_of(self, sums: Floats, group_count: int) -> Floats:
        """Scores from summed features.

        Args:
            sums: (..., groups * f).
            group_count: how many groups there are.

        Returns:
            (...).
        """
        return self._combined(self.group_scores(sums, group_count))

    def group_scores(self, sums: Floats, group_count: int) -> Floats:
        """Scores of the groups from summed features.

        Args:
            sums: (..., groups * f).
            group_count: how many groups there are; one where groups do not matter.

        Returns:
            (..., groups).
        """
        return self.score(sums.reshape(*sums.shape[:-1], group_count, -1))

    def _combined(self, scores: Floats) -> Floats:
        """One score from those of the groups, (..., groups) to (...)."""
        return scores[..., 0] if self.over_groups is None else self.over_groups(scores)

    def unseen(
        self, scores: Floats, deviations: tuple[Floats, Floats], groups: Sequence[str]
    ) -> Unseen:
        """What clusters of other kinds could do to the score.

        A group of one cluster, and clusters that are all alike, have no other measure of chance.

        Args:
            scores: of the groups, (groups,).
            deviations: how far below and above these scores a cluster can lie, (groups,) each.
            groups: the group of each cluster.
        """
        counts = [groups.count(name) for name in sorted(set(groups))]
        score = self._combined(scores)
        down, up = (
            np.abs(self._combined(scores + np.diag(sign * far)) - score)
            for sign, far in zip((-1, 1), deviations, strict=True)
        )
        return Unseen(down, up, np.array(counts, dtype=float))

    def maximum_of(self, group_count: int) -> float | None:
        """What can be had in so many groups; None where there is no maximum."""
        if self.over_groups is None or self.maximum is None:
            return self.maximum
        return float(self.over_groups(np.full(group_count, self.maximum)))
