"""The largest k whose score on a selection split reaches a threshold."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from harness.errors import ConfigError
from harness.evaluation.registry import open_suites
from harness.evaluation.suite import Suite
from harness.progress import Progress
from harness.stages.base import Job
from harness.stages.evaluate import evaluation_context
from harness.variants.calibration_run import CalibrationRun
from harness.variants.variant import Variant
from luq.allocation.search import bisect_k, scan_k
from luq.decoder.apply import applied
from reports.records.measurements import Trial
from reports.records.results import MetricScore, SuiteResult
from reports.statistics.paired import Paired, compare
from reports.statistics.registry import find_statistic

LOOKS = 4  # after an eighth, a quarter, a half and all of the questions
# Normal quantile of a 1 - 0.05 / 3 interval over that of a 0.95 one: the three early looks share
# the 5 % of one.
WIDER = 1.22


class ThresholdSearch:
    """Evaluates any k on the selection split of one suite, no question twice.

    Args:
        calibration_run: The model, its calibration and its store.
        job: With the settings under `search`.
        progress: Where evaluations report to.
        variant_at: Makes the variant of a k.
    """

    def __init__(
        self,
        calibration_run: CalibrationRun,
        job: Job,
        progress: Progress,
        variant_at: Callable[[int], Variant],
    ):
        self.loaded, self.progress, self.variant_at = calibration_run.loaded, progress, variant_at
        self.settings = job.config.search
        self.suite = _selection_suite(calibration_run, job)
        self.metric = _metric(self.suite, self.settings.metric)
        self.context = evaluation_context(job.config, calibration_run)
        self.results: dict[tuple[int, int], SuiteResult] = {}
        self.evaluated: dict[int, Trial] = {}

    def run(self) -> dict[str, Any]:
        """Search by bisection and, where it is wanted, at every k; fields of a `Search`."""
        blocks = len(self.loaded.blocks)
        binary = bisect_k(blocks, self.holds)
        by_bisection = list(self.evaluated)
        scan = scan_k(blocks, self.holds) if self.settings.scan else binary
        violations = self._violations()
        return {
            "binary": binary,
            "scan": scan,
            "asked": [self.evaluated[k] for k in sorted(self.evaluated)],
            "binary_asked": by_bisection,
            "violations": violations,
            "text": self._text(binary, scan, len(by_bisection), violations),
        }

    def holds(self, k: int) -> bool:
        """Whether k reaches the threshold.

        An eighth, a quarter, half and all of the questions are evaluated, until an interval
        decides.
        """
        if k not in self.evaluated:
            for look in reversed(range(LOOKS)):
                share = math.ceil(len(self.suite.clusters) / 2**look)
                count = self.suite.whole_groups(share)
                score, low, high = self._score(k, count)
                if look:
                    low, high = score - WIDER * (score - low), score + WIDER * (high - score)
                decided = low > self.threshold or high < self.threshold
                if decided:
                    break
            self.evaluated[k] = Trial(
                k=k,
                score=score,
                low=low,
                high=high,
                questions=count,
                holds=score >= self.threshold,
                decided=decided,
                stored_bytes=self.variant_at(k).stored_bytes,
            )
        return self.evaluated[k].holds

    @property
    def threshold(self) -> float:
        """In the unit of the scores; relative: the difference to k=0 that must be reached."""
        assert self.settings.tau is not None, "the configuration was checked"
        return -self.settings.tau if self.settings.relative else self.settings.tau

    def _score(self, k: int, count: int) -> tuple[float, float, float]:
        """(score, low, high) in the metric's unit; relative: the paired difference to k=0."""
        if self.settings.relative:
            paired = self._compare(self._result(k, count), self._result(0, count))
            return paired.difference, paired.low, paired.high
        metric = self._metric_of(self._result(k, count))
        if metric.score is None or metric.ci_low is None or metric.ci_high is None:
            raise ConfigError(f"search.metric={self.metric} has no score on {self.suite.title}")
        scale = _scale(metric)
        return scale * metric.score, scale * metric.ci_low, scale * metric.ci_high

    def _metric_of(self, result: SuiteResult) -> MetricScore:
        return next(metric for metric in result.metrics if metric.metric == self.metric)

    def _compare(self, first: SuiteResult, second: SuiteResult) -> Paired:
        """Under the metric that is searched by, in per cent or MME's points."""
        metric = self._metric_of(first)
        paired, scale = compare(first, second, metric), _scale(metric)
        return replace(
            paired,
            difference=scale * paired.difference,
            low=scale * paired.low,
            high=scale * paired.high,
        )

    def _result(self, k: int, count: int) -> SuiteResult:
        if (k, count) not in self.results:
            variant, loaded = self.variant_at(k), self.loaded
            label = f"k={k} on {self.suite.title}, {count} questions"
            self.progress.start_cell(label, count)
            with applied(loaded.model, loaded.family, variant.weights, packed=loaded.streamed):
                _, result = self.suite.answer(self.context, variant.digest, count)
            self.results[k, count] = result
            self.progress.finish_cell(label, "done")
        return self.results[k, count]

    def _violations(self) -> list[int]:
        """Every k that scores higher than the k evaluated before it, on their common questions."""
        ks = sorted(self.evaluated)
        return [
            after
            for before, after in itertools.pairwise(ks)
            if self._compare(self._last_result(after), self._last_result(before)).difference > 0
        ]

    def _last_result(self, k: int) -> SuiteResult:
        return self.results[k, self.evaluated[k].questions]

    def _text(
        self, binary: int | None, scan: int | None, evaluations: int, violations: list[int]
    ) -> str:
        settings = self.settings
        rule = (
            f"at most {settings.tau:g} points below k=0"
            if settings.relative
            else f"at least {settings.tau:g}"
        )
        where = f"{self.suite.title}, {settings.split} split, {self.metric} {rule}"
        if scan is None:
            best = max(self.evaluated.values(), key=lambda one: one.score)
            return (
                f"{where}: no k reaches it; the best is k={best.k} with {best.score:.1f} "
                f"[{best.low:.1f}, {best.high:.1f}]"
            )
        full = f"; by full scan k = {scan}" if settings.scan else ""
        rises = (
            f"; the score rises at k = {', '.join(map(str, violations))}"
            if violations
            else "; the score never rises with k"
        )
        return f"{where}: by binary search k = {binary} ({evaluations} evaluations){full}{rises}"


def _scale(metric: MetricScore) -> float:
    return find_statistic(metric.statistic).unit.scale


def _selection_suite(calibration_run: CalibrationRun, job: Job) -> Suite:
    """The suite that k is chosen by, never on the questions that are reported."""
    name, split = job.config.search.suite, job.config.search.split
    config = replace(job.config, suite=replace(job.config.suite, tasks=[name]))
    (suite,) = open_suites(config, calibration_run.loaded, calibration_run.store).values()
    return suite.select(split)


def _metric(suite: Suite, name: str | None) -> str:
    primary = [metric for metric, meta in suite.metrics.items() if meta.primary]
    if name is None:
        return primary[0]
    if name not in suite.metrics:
        raise ConfigError(
            f"search.metric is {name!r}; {suite.title} has {', '.join(suite.metrics)}"
        )
    return name
