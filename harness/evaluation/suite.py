"""What a suite is: questions or windows of text that a variant is evaluated on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from harness.config.schema import CalibrationConfig, SuiteConfig
from harness.models.load import LoadedModel
from harness.store.records import load_result, save_result
from harness.store.store import Store
from reports.records.results import Cell, SuiteResult

# Part of the key of every answer and result. Raise it when the same request would get other
# answers: then no stored answer is used again. It need not follow the version of the package.
ANSWERS_VERSION = "0.1.0"


@dataclass(frozen=True)
class Metric:
    """A score of a suite.

    Attributes:
        statistic: Name of the statistic of `reports.statistics` that makes the score of the
            answers.
        primary: Whether tables and figures show it.
        rules: Version of the rules that read the answers. Raise it when the same answers would get
            other scores: stored answers are then scored again, and no question is asked.
    """

    statistic: str
    primary: bool = False
    rules: int = 0


def _no_progress(count: int) -> None: ...


@dataclass(frozen=True)
class EvaluationContext:
    """The model with a variant's weights in it, and how suites are evaluated on it.

    Attributes:
        store: Where answers and results are stored.
        loaded: The model. Whoever calls puts the weights of the variant into it before.
        batch_size: How many questions or windows go through the model at once.
        calibration_pictures: Digests of the pictures that the variant was calibrated on. A suite
            that asks about one of them fails.
        max_error_share: The share of questions that may raise an error before the suite fails.
        on_progress: Called with a number of questions or windows whenever so many more are done.
    """

    store: Store
    loaded: LoadedModel
    batch_size: int
    calibration_pictures: frozenset[str] = frozenset()
    max_error_share: float = 0.005
    on_progress: Callable[[int], None] = _no_progress


class Suite(Protocol):
    """Questions, or windows of a text, with their scores."""

    @property
    def name(self) -> str:
        """As in `suite.tasks`."""

    @property
    def title(self) -> str:
        """Name in tables and figures."""

    @property
    def data(self) -> str:
        """Digest of the questions and of everything that is read with them."""

    @property
    def clusters(self) -> Sequence[str]:
        """For each question a name that it shares with those that are not independent of it: on the
        same picture, of the same pair or circular group. Questions of a cluster are neighbours.
        """

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """The scores by name."""

    def whole_groups(self, limit: int | None) -> int:
        """The smallest number of questions, at least `limit`, that cuts no cluster; None: all."""

    def answer(
        self, context: EvaluationContext, variant: str, limit: int | None
    ) -> tuple[str, SuiteResult]:
        """Evaluate the variant that is in the model on the first `limit` questions.

        A result, and every answer, that the store has is not made again.

        Args:
            context: Model, store and settings.
            variant: Digest of the weights that are in the model.
            limit: Number of questions, None for all; clusters are never cut.

        Returns:
            (key, result); the result is in the store under this key.

        Raises:
            CellError: The variant cannot be scored on this suite.
        """

    def select(self, split: str) -> Suite:
        """The same suite on other questions, on which a setting of a variant may be chosen.

        Args:
            split: Name of the split, as in `search.split`.

        Raises:
            ConfigError: There is no such split, or it is the one that is reported.
        """

    def overlap(self, calibration: CalibrationConfig) -> str:
        """What the calibration data shares with the questions, and what to do; "" for nothing.

        Pictures are not compared here but when they are asked about: `EvaluationContext`.
        """


@runtime_checkable
class ScoresAgain(Protocol):
    """A suite that can score stored answers, without a model."""

    def score_again(self, store: Store, cell: Cell, result: SuiteResult) -> tuple[str, SuiteResult]:
        """Score the answers of a result by the rules of today.

        Args:
            store: Where it is stored.
            cell: What names the result.
            result: By other rules.

        Returns:
            (key, result); the result is in the store under this key.
        """


class OpenSuites(Protocol):
    """The function `open_suites` of a kind of suites."""

    def __call__(
        self, settings: SuiteConfig, loaded: LoadedModel, store: Store, seed: int
    ) -> Mapping[str, Suite]:
        """Open the suites `settings.tasks`, by name.

        Args:
            settings: The part `suite` of the configuration, with the batch size filled in.
            loaded: The model, whose tokenizer and family may matter; it may be without weights.
            store: Where data that is drawn is stored.
            seed: 0 for the questions that are reported. Suites that are drawn draw others for other
                seeds; all others ignore it.

        Raises:
            ConfigError: A suite is unknown, its data cannot be read, or the model cannot answer it.
        """


def stored_result(store: Store, key: str, evaluate: Callable[[], SuiteResult]) -> SuiteResult:
    """The result of this key, evaluated and stored where it is absent.

    Args:
        store: Where results are.
        key: Digest of everything that the result depends on.
        evaluate: Makes the result.
    """
    with store.claim("results", key):
        result = load_result(store, key)
        if result is None:
            result = evaluate()
            save_result(store, key, result)
    return result
