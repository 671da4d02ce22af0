"""The records of an evaluation: answers, the scores of a suite, and the variant behind them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from reports.records.schema import SCHEMA_VERSION, Strict, Version

Int64 = Annotated[int, Field(ge=-(2**63), lt=2**63)]  # what a column of a table can hold
KEY = r"^[0-9A-Za-z_-]{0,128}$"  # a name of one folder and nothing else
Status = Literal["answered", "empty", "unparseable", "error", "data_error"]


class Answer(Strict):
    """One question and what a variant answered.

    Attributes:
        cluster: what the question shares a picture, a pair or a circular group with.
        scores: by metric, 0 to 1; for the perplexity of a window of text, its loss in nats a token.
        group: MME's category or POPE's split, "" for other suites.
        gold: whether "yes" is right, for questions that ask for yes or no.
        said: whether the answer was "yes".
        parsed: whether the answer was "yes" or "no" at all.
    """

    question_id: str
    cluster: str
    prompt: str
    target: str
    response: str
    status: Status
    scores: dict[str, float]
    group: str = ""
    gold: bool = False
    said: bool = False
    parsed: bool = True


class MetricScore(Strict):
    """The score of one suite under one metric, with its 95 % interval.

    Attributes:
        score: in the metric's own unit, 0 to `maximum`; None where no question has a score.
        n: how many answers have a score.
        maximum: what can be had; for a perplexity, which has no maximum, the score itself.
        primary: whether tables show it and means count it.
        statistic: name of the statistic that made the score, see `reports.statistics.registry`.
        rules: version of the rules that read the answers, by metric; not written where it is 0.
    """

    metric: str
    score: float | None
    ci_low: float | None
    ci_high: float | None
    n: Int64 = Field(ge=0)
    maximum: float = Field(gt=0)
    primary: bool
    statistic: str = "mean"
    rules: int = Field(default=0, ge=0, exclude_if=lambda rules: not rules)


class SuiteResult(Strict):
    """What one variant's weights answered on one suite, and how that scores.

    Attributes:
        limit: how many questions were asked for; None: all.
        n: how many questions were answered.
        data_errors: questions with an unreadable picture, which are not put to any variant; they
            count as wrong for all variants alike.
        batch_size: the smallest that memory allowed.
        pictures: key of the store entry with small copies of the pictures, or "".
    """

    schema_version: Version = SCHEMA_VERSION
    suite: str
    suite_title: str
    limit: Int64 | None
    n: Int64
    errors: Int64
    empty: Int64
    unparseable: Int64
    data_errors: Int64 = 0
    batch_size: Int64 | None = None
    pictures: str = Field(default="", pattern=KEY)
    metrics: list[MetricScore]
    answers: list[Answer]

    @model_validator(mode="before")
    @classmethod
    def _name_statistics(cls, values: Any) -> Any:
        """Schema 1 named no statistic; its only scores above 1 are MME's points."""
        if not (isinstance(values, dict) and values.get("schema_version") == 1):
            return values
        metrics = values.get("metrics")
        if not (isinstance(metrics, list) and all(isinstance(one, dict) for one in metrics)):
            return values
        return {
            **values,
            "metrics": [
                {"statistic": "mean" if one.get("maximum") == 1 else "mme", **one}
                for one in metrics
            ],
        }


class Block(Strict):
    """One decoder block of a variant.

    Attributes:
        kept: the formats of its weights.
        output_error: share of its linears' outputs on calibration data that quantization changes;
            None: not measured.
        entropy: of its activations, in bits; None: not measured.
    """

    kept: str
    paper_bits: float
    stored_bits: float
    output_error: float | None = None
    entropy: float | None = None


class Cell(Strict):
    """One variant on one suite: how it was made, what it stores, and where its result lies.

    Attributes:
        model: its name in the configuration.
        model_digest: of the files that the model was read from; "" in cells of earlier versions.
        low: short name of the low-bit quantizer, "none" where all blocks get the high one.
        high: short name of the other quantizer, "none" for full precision.
        low_quantizer: the low-bit quantizer as data, `method` and every field; None where there is
            none, and in cells of version 0.1.
        high_quantizer: the other quantizer in the same way.
        candidates: quantizers that allocation chose from, in the same way.
        code: digests of the code of these quantizers; nothing in cells of earlier versions.
        k: how many blocks get the low-bit method.
        order: which blocks get it first.
        inputs: what blocks are calibrated on; "fp": full-precision inputs.
        budget_bits: stored bits a weight that allocation could spend; None: k was given.
        alpha: share of calibration tokens from image-text samples, 0 to 1.
        calibration: further settings of the calibration data by name, where the variant needs any;
            nothing in cells of earlier versions.
        variant: digest of the quantized weights.
        result: key of the store entry with the result.
        command: the command that made it.
        made_with: versions and machine.
        events: what quantizers reported, lines that begin with `block N`.
    """

    schema_version: Version = SCHEMA_VERSION
    model: str
    model_digest: str = ""
    method: str
    low: str
    high: str
    low_quantizer: dict[str, Any] | None = None
    high_quantizer: dict[str, Any] | None = None
    candidates: list[dict[str, Any]] = Field(default_factory=list)
    code: list[str] = Field(default_factory=list)
    k: Int64
    order: str
    inputs: str = "fp"
    budget_bits: float | None = None
    alpha: float
    calibration_seed: Int64
    calibration: dict[str, str | int | float | None] = Field(default_factory=dict)
    paper_bits: float
    stored_bits: float
    stored_bytes: Int64
    suite: str
    limit: Int64 | None
    variant: str
    result: str = Field(pattern=KEY)
    command: str
    seconds: float
    questions: Int64 = 0
    blocks: list[Block] = Field(default_factory=list)
    made_with: dict[str, str] = Field(default_factory=dict)
    events: list[str]

    def uses(self, low: Mapping[str, Any] | None, high: Mapping[str, Any] | None) -> bool:
        """Whether the variant has these quantizers.

        In a cell of version 0.1 their short names tell the method and its bits or variant.

        Args:
            low: method and those options that matter; None for full precision.
            high: the same of the other quantizer.
        """
        if self.candidates or self.budget_bits is not None:
            return False
        return _is(self.low_quantizer or _from_name(self.low), low) and _is(
            self.high_quantizer or _from_name(self.high), high
        )

    def events_of(self, block: int) -> list[str]:
        """Events of one decoder block, without its number."""
        prefix = f"block {block} "
        return [event.removeprefix(prefix) for event in self.events if event.startswith(prefix)]

    @model_validator(mode="before")
    @classmethod
    def _drop_plan(cls, values: Any) -> Any:
        """Schema 1 described each block as a line of text without its paper bits."""
        if isinstance(values, dict) and values.get("schema_version") == 1:
            return {name: value for name, value in values.items() if name != "plan"}
        return values


def _from_name(name: str) -> dict[str, Any]:
    """What the short name of a quantizer tells, such as `gptq-4` or `billm-code`."""
    method, _, detail = name.partition("-")
    option = {"bits": int(detail)} if detail.isdigit() else {"variant": detail} if detail else {}
    return {"method": method, **option}


def _is(recorded: Mapping[str, Any], expected: Mapping[str, Any] | None) -> bool:
    if expected is not None:
        return expected.items() <= recorded.items()
    # Full precision, and not a perturbed copy of it.
    options = {name: value for name, value in recorded.items() if name not in ("method", "seed")}
    return recorded.get("method") == "none" and not any(options.values())


class Failure(Strict):
    """A cell that could not be evaluated, and why.

    Attributes:
        depends_on: States by path of the code and the data that it went through: as long as they
            are the same, it fails again. Empty for what may pass by itself.
    """

    schema_version: Version = SCHEMA_VERSION
    model: str
    method: str
    k: Int64
    suite: str
    limit: Int64 | None
    error: str
    command: str
    depends_on: dict[str, str] = Field(default_factory=dict)
