"""What was measured of the blocks themselves: entropies, the stability of their ranking, scores
against damage, searches for k.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from reports.records.results import Problem, reason_of, refuse_newer

FILE = "measurement.json"


class _Measurement(BaseModel):
    """alpha, calibration_seed, tokens, image_token_share: of the calibration behind it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    schema_version: Literal[1] = 1
    model: str
    alpha: float
    calibration_seed: int
    tokens: int
    image_token_share: float
    command: str


class Entropy(_Measurement):
    """bits: [block][seed]. at, of_tokens, drop, clusters: see `EntropyConfig`. seed_tau: mean
    Kendall tau between the seeds' rankings.
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
    """changes[j]:

    Kendall distance of the rankings at grid[j] and grid[j + 1], a mean over seeds. clusters: K by
    `rule`, if there is one. seed_tau: at each K of the grid.
    """

    kind: Literal["stability"] = "stability"
    grid: list[int]
    changes: list[float]
    seed_tau: list[float]
    seeds: int
    clusters: int | None
    rule: str


class Correlation(BaseModel):
    """Spearman's rank correlation of a score with measured damage, and its 95 % interval."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    rho: float
    low: float
    high: float


class Orders(_Measurement):
    """scores: of every block by name, damage among them, under the low method; orders: blocks by
    ascending score. correlations: with damage. same_sets: for two orders the k at which they choose
    the same blocks.
    """

    kind: Literal["orders"] = "orders"
    low: str
    answers: int
    scores: dict[str, list[float]]
    orders: dict[str, list[int]]
    correlations: dict[str, Correlation]
    same_sets: list[tuple[str, str, list[int]]]


class Asked(BaseModel):
    """One k of a search. questions: how many were asked before it was decided. decided: by an
    interval, or by the whole split.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    k: int
    score: float
    low: float
    high: float
    questions: int
    holds: bool
    decided: bool
    stored_bytes: int


class Search(_Measurement):
    """rule:

    `threshold` (largest k that holds) or `budget` (smallest k within it). binary, scan: the k each
    finds, if there is one. violations: k after which the score rises. language_model_bytes: by k.
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
    asked: list[Asked]
    binary_asked: list[int]
    violations: list[int]
    language_model_bytes: list[int]
    text: str


Measurement = Annotated[Entropy | Stability | Orders | Search, Field(discriminator="kind")]
_ADAPTER: TypeAdapter[Measurement] = TypeAdapter(Measurement)


def read_measurement(path: Path) -> Measurement:
    """Raises OSError or ValueError for a file that is no measurement."""
    text = path.read_text()
    refuse_newer(text)
    return _ADAPTER.validate_json(text)


def read_measurements(root: Path) -> tuple[list[Measurement], list[Problem]]:
    """Everything measured in a store, and what could not be read."""
    found: list[Measurement] = []
    problems: list[Problem] = []
    for path in sorted((root / "measurements").glob(f"*/{FILE}")):
        try:
            found.append(read_measurement(path))
        except (OSError, ValueError) as error:
            problems.append(Problem(path=str(path), reason=reason_of(error)))
    return found, problems
