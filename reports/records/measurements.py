"""The records of measurements on the blocks themselves: entropies, the stability of their ranking,
scores compared with damage, and searches for k.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from reports.records.schema import Strict, refuse_newer


class _Measurement(Strict):
    """What all measurements have in common.

    Attributes:
        alpha: share of calibration tokens from image-text samples, 0 to 1.
        tokens: how many the calibration has.
        image_token_share: of these, the share that stands for pictures.
    """

    schema_version: Literal[1] = 1
    model: str
    alpha: float
    calibration_seed: int
    tokens: int
    image_token_share: float
    command: str


class Entropy(_Measurement):
    """Entropy of each block's activations under K-means.

    Attributes:
        at: where activations are taken, see `EntropyConfig`.
        of_tokens: which tokens count.
        drop: share of the largest activations that is left out.
        clusters: K.
        bits: [block][seed].
        seed_tau: mean Kendall tau between the rankings of two seeds.
    """

    kind: Literal["entropy"] = "entropy"
    at: str
    of_tokens: str
    drop: float
    clusters: int
    init: str
    bits: list[list[float]]
    seed_tau: float


class Stability(_Measurement):
    """How much the ranking of the blocks depends on the number of clusters.

    Attributes:
        grid: the values of K.
        changes: `changes[j]` is the Kendall distance of the rankings at `grid[j]` and
            `grid[j + 1]`, a mean over seeds.
        seed_tau: mean Kendall tau between the rankings of two seeds, at each K of the grid.
        clusters: K by `rule`, None where the rule chooses none.
    """

    kind: Literal["stability"] = "stability"
    grid: list[int]
    changes: list[float]
    seed_tau: list[float]
    seeds: int
    clusters: int | None
    rule: str


class Correlation(Strict):
    """Spearman's rank correlation of a score with measured damage, and its 95 % interval."""

    rho: float
    low: float
    high: float


class Orders(_Measurement):
    """Scores of the blocks compared with the damage that quantizing them does.

    Attributes:
        low: the method whose damage was measured.
        answers: how many held-out answers the damage is a mean of.
        scores: of every block, by name of the score; `damage` is one of them.
        orders: blocks by ascending score, by name of the score.
        correlations: of each score with damage.
        same_sets: two orders, and the k at which they choose the same blocks.
    """

    kind: Literal["orders"] = "orders"
    low: str
    answers: int
    scores: dict[str, list[float]]
    orders: dict[str, list[int]]
    correlations: dict[str, Correlation]
    same_sets: list[tuple[str, str, list[int]]]


class Trial(Strict):
    """One k that a search evaluated.

    Attributes:
        questions: how many were answered before it was decided.
        decided: True where an interval decided, False where all questions were needed.
    """

    k: int
    score: float
    low: float
    high: float
    questions: int
    holds: bool
    decided: bool
    stored_bytes: int


class Search(_Measurement):
    """A search for k.

    Attributes:
        rule: `threshold` (the largest k whose score holds) or `budget` (the smallest k within it).
        binary: the k that binary search finds, None where no k holds.
        scan: the k that a full scan finds, None where no k holds.
        asked: every k that was evaluated, ascending.
        binary_asked: those that binary search evaluated, in its order.
        violations: k at which the score is higher than at the k before.
        language_model_bytes: by k.
    """

    kind: Literal["search"] = "search"
    method: str
    order: str
    inputs: str
    rule: str
    suite: str
    split: str
    threshold: float | None
    relative: bool
    budget_bytes: int | None
    binary: int | None
    scan: int | None
    asked: list[Trial]
    binary_asked: list[int]
    violations: list[int]
    language_model_bytes: list[int]
    text: str


Measurement = Annotated[Entropy | Stability | Orders | Search, Field(discriminator="kind")]
_ADAPTER: TypeAdapter[Measurement] = TypeAdapter(Measurement)


def read_measurement(path: Path) -> Measurement:
    """Read one measurement.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: it is no measurement that this version knows.
    """
    text = path.read_text(encoding="utf-8")
    refuse_newer(text)
    return _ADAPTER.validate_json(text)
