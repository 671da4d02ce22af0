"""The records of the gate: its checks and its verdict on a quantization backend."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from reports.records.results import SuiteResult
from reports.records.schema import SCHEMA_VERSION, Strict, Version

Verdict = Literal["pass", "fail", "undecided", "skipped"]
Role = Literal["reference", "earlier"]


class Check(Strict):
    """One check of a backend.

    Attributes:
        group: contract, layers, bits or answers.
        detail: what was measured, in words.
    """

    group: str
    name: str
    verdict: Verdict
    detail: str = ""
    seconds: float = 0.0


class Measured(Strict):
    """What was measured of a backend.

    Attributes:
        layer_errors: relative output errors on planted layers; empty where the backend takes whole
            models only.
        results: by suite.
    """

    method: str
    paper_bits: float
    stored_bits: float
    stored_bytes: int
    layer_errors: tuple[float, ...] = ()
    results: dict[str, SuiteResult] = Field(default_factory=dict)


class GateRun(Strict):
    """A run of the gate.

    Attributes:
        baseline: the reference method, None without one.
        margin: the loss that is tolerated, in points of the mean over suites or per cent of
            perplexity.
        questions: of each suite.
        made_with: versions and machine.
        measured: None where the contract was broken, so that nothing was evaluated.
    """

    schema_version: Version = SCHEMA_VERSION
    model: str
    method: str
    baseline: str | None
    margin: float
    seed: int
    questions: int = Field(ge=0)
    command: str
    made_with: dict[str, str]
    checks: list[Check]
    measured: Measured | None
    verdict: Verdict
