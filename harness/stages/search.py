"""The stage `search`: the largest k whose score holds, or the smallest k within a byte budget."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from harness.config.schema import SearchConfig
from harness.errors import ConfigError
from harness.evaluation.lmms_model import LuqModel
from harness.evaluation.picture_suite import Suite, evaluate_suite, load_suites, mini_data
from harness.models.load import LoadedModel
from harness.progress import Progress
from harness.stages.base import Job, Outcome
from harness.stages.cells import order_name
from harness.stages.measure import keep, origin
from harness.variants.calibration_run import CalibrationRun, open_run
from harness.variants.variant import Variant, make_variant
from luq.allocation.search import bisect_k, scan_k, smallest_within
from luq.decoder.apply import applied
from luq.rounding.dense import smallest_exact
from reports.records.measurements import Asked, Search
from reports.records.results import MetricScore, SuiteResult
from reports.report.leaderboard import bytes_text
from reports.statistics.paired import Paired, compare
from tasks.mini.suites import SELECTION_SEED

LOOKS = 4  # after an eighth, a quarter, a half and all of the questions
# normal quantile of a 1 - 0.05 / 3 interval over that of a 0.95 one: the three early looks share
# the 5 % of one
WIDER = 1.22
MIB = 2**20


def run(jobs: Sequence[Job], progress: Progress) -> Outcome:
    """Find k for every job; a search that finds none has failed."""
    return sum((_search(job, progress) for job in jobs), Outcome())


def _search(job: Job, progress: Progress) -> Outcome:
    progress.step("searching")
    bench, settings = open_run(job.config, progress), job.config.search
    if not job.config.method.low:
        raise ConfigError(
            "stage=search looks for the k of a method with a low and a high quantizer, such as"
            " method=luq"
        )
    found = (
        _by_budget(bench, job, settings)
        if settings.rule == "budget"
        else _Judge(bench, job, progress).search()
    )
    keep(bench.store, found)
    progress.message(found.text)
    return Outcome(failed=int(found.scan is None))


def language_model_bytes(loaded: LoadedModel, variant: Variant) -> int:
    """Bytes of every tensor of the language model as it would be packed: the variant's linears, and
    embeddings, norms and head, each once, in the smallest type that holds them.
    """
    family, model = loaded.family, loaded.model
    text: Any = model.get_submodule(family.text)
    inside = {
        id(block.get_submodule(name).weight) for block in loaded.blocks for name in family.linears
    }
    rest = {
        id(p): p
        for module in (text, model.get_output_embeddings())
        for p in module.parameters()
        if id(p) not in inside
    }
    return variant.stored_bytes + sum(
        int(p.numel()) * smallest_exact(p.data).element_size() for p in rest.values()
    )


def _at(job: Job, bench: CalibrationRun, k: int) -> Variant:
    config = job.config
    return make_variant(bench, replace(config.method, k=k), config.entropy, config.workers)


def _sizes(bench: CalibrationRun, job: Job) -> list[int]:
    return [
        language_model_bytes(bench.loaded, _at(job, bench, k))
        for k in range(len(bench.loaded.blocks) + 1)
    ]


def _by_budget(bench: CalibrationRun, job: Job, settings: SearchConfig) -> Search:
    sizes = _sizes(bench, job)
    assert settings.budget_mib is not None, "the configuration was checked"
    budget = int(settings.budget_mib * MIB)
    try:
        k = smallest_within(sizes, budget)
    except ValueError as error:
        raise ConfigError(
            f"search.budget_mib={settings.budget_mib}: {error}. The language model needs"
            f" {sizes[-1] / MIB:.3f} MiB with every block low and {sizes[0] / MIB:.3f} MiB with"
            " none"
        ) from error
    beside = (
        "; already the model with no block low is within it"
        if k == 0
        else f" (k={k - 1}: {bytes_text(sizes[k - 1])})"
    )
    text = (
        f"budget {settings.budget_mib:g} MiB of packed language model: k = {k},"
        f" {bytes_text(sizes[k])}{beside}"
    )
    return _found(bench, job, sizes, binary=k, scan=k, text=text)


class _Judge:
    """Asks one suite's selection split for the score of any k, no question twice."""

    def __init__(self, bench: CalibrationRun, job: Job, progress: Progress):
        self.bench, self.job, self.progress, self.settings = bench, job, progress, job.config.search
        self.suite = _selection_suite(bench, job)
        self.lm = LuqModel(loaded=bench.loaded, batch_size=job.config.batch_size)
        self.lm.on_progress = progress.advance
        self.lm.calibration_pictures = bench.calibration_pictures()
        self.metric = _metric(self.suite, self.settings.metric)
        self.results: dict[tuple[int, int], SuiteResult] = {}
        self.asked: dict[int, Asked] = {}

    def search(self) -> Search:
        blocks = len(self.bench.loaded.blocks)
        binary = bisect_k(blocks, self.holds)
        by_bisection = list(self.asked)
        scan = scan_k(blocks, self.holds) if self.settings.scan else binary
        asked = [self.asked[k] for k in sorted(self.asked)]
        violations = self._violations()
        text = self._text(binary, scan, len(by_bisection), violations)
        return _found(
            self.bench,
            self.job,
            _sizes(self.bench, self.job),
            binary=binary,
            scan=scan,
            text=text,
            asked=asked,
            binary_asked=by_bisection,
            violations=violations,
        )

    def holds(self, k: int) -> bool:
        """Whether k reaches the threshold.

        Asks an eighth, a quarter, half and all of the questions, until an interval decides.
        """
        if k not in self.asked:
            total = len(self.suite.clusters)
            for look in reversed(range(LOOKS)):
                count = self.suite.whole_groups(math.ceil(total / 2**look))
                score, low, high = self._score(k, count)
                if look:
                    low, high = score - WIDER * (score - low), score + WIDER * (high - score)
                decided = low > self.threshold or high < self.threshold
                if decided:
                    break
            self.asked[k] = Asked(
                k=k,
                score=score,
                low=low,
                high=high,
                questions=count,
                holds=score >= self.threshold,
                decided=decided,
                stored_bytes=_at(self.job, self.bench, k).stored_bytes,
            )
        return self.asked[k].holds

    @property
    def threshold(self) -> float:
        assert self.settings.tau is not None, "the configuration was checked"
        return -self.settings.tau if self.settings.relative else self.settings.tau

    def _score(self, k: int, count: int) -> tuple[float, float, float]:
        """(score, low, high) in the metric's unit; relative: what k loses to k=0 on the same
        questions, in points.
        """
        if self.settings.relative:
            found = self._compared(self._result(k, count), self._result(0, count))
            return found.difference, found.low, found.high
        metric = self._metric_of(self._result(k, count))
        if metric.score is None or metric.ci_low is None or metric.ci_high is None:
            raise ConfigError(f"search.metric={self.metric} has no score on {self.suite.title}")
        scale = 100 if metric.maximum == 1 else 1
        return scale * metric.score, scale * metric.ci_low, scale * metric.ci_high

    def _metric_of(self, result: SuiteResult) -> MetricScore:
        return next(metric for metric in result.metrics if metric.metric == self.metric)

    def _compared(self, first: SuiteResult, second: SuiteResult) -> Paired:
        """Under the metric that is searched by, in per cent or MME's points."""
        metric = self._metric_of(first)
        found = compare(first, second, metric)
        scale = 100 if metric.maximum == 1 else 1
        return replace(
            found,
            difference=scale * found.difference,
            low=scale * found.low,
            high=scale * found.high,
        )

    def _result(self, k: int, count: int) -> SuiteResult:
        if (k, count) not in self.results:
            variant, loaded = _at(self.job, self.bench, k), self.bench.loaded
            self.progress.start_cell(f"k={k} on {self.suite.title}, {count} questions", count)
            with applied(loaded.model, loaded.family, variant.weights, packed=loaded.streamed):
                _, self.results[k, count] = evaluate_suite(
                    self.bench.store,
                    self.lm,
                    self.suite,
                    variant=variant.digest,
                    limit=count,
                    max_error_share=self.job.config.max_error_share,
                )
            self.progress.finish_cell(f"k={k} on {self.suite.title}, {count} questions", "done")
        return self.results[k, count]

    def _violations(self) -> list[int]:
        """Every k that scores higher than the k asked before it, on the questions that both were
        asked.
        """
        found = []
        ks = sorted(self.asked)
        for before, after in itertools.pairwise(ks):
            results = [self.results[k, self.asked[k].questions] for k in (after, before)]
            if self._compared(*results).difference > 0:
                found.append(after)
        return found

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
            best = max(self.asked.values(), key=lambda a: a.score)
            return (
                f"{where}: no k reaches it; the best is k={best.k} with {best.score:.1f}"
                f" [{best.low:.1f}, {best.high:.1f}]"
            )
        full = f"; by full scan k = {scan}" if settings.scan else ""
        rises = (
            f"; the score rises at k = {', '.join(map(str, violations))}"
            if violations
            else "; no rise of the score with k was seen"
        )
        return f"{where}: by binary search k = {binary} ({evaluations} evaluations){full}{rises}"


def _selection_suite(bench: CalibrationRun, job: Job) -> Suite:
    """The suite that k is chosen by, never on the questions that are reported. Raises ConfigError."""
    settings, config = job.config.search, job.config
    if config.suite.folder == "mini":
        if settings.split != "selection":
            raise ConfigError(
                f"search.split is {settings.split!r}; the mini suites have `selection` for this,"
                " drawn from another seed"
            )
        data = mini_data(bench.store, [settings.suite], seed=SELECTION_SEED)
        return load_suites("mini", (settings.suite,), bench.loaded.family.name, data)[
            settings.suite
        ]
    (suite,) = load_suites(
        config.suite.folder, (settings.suite,), bench.loaded.family.name, None
    ).values()
    if settings.split == suite.task.config.test_split:
        raise ConfigError(
            f"search.split is {settings.split!r}, which {suite.title} reports; k would be chosen by"
            " what it is judged by"
        )
    (suite,) = load_suites(
        config.suite.folder, (settings.suite,), bench.loaded.family.name, None, settings.split
    ).values()
    return suite


def _metric(suite: Suite, name: str | None) -> str:
    primary = [metric for metric, meta in suite.metrics.items() if meta.get("primary")]
    if name is None:
        return primary[0]
    if name not in suite.metrics:
        raise ConfigError(
            f"search.metric is {name!r}; {suite.title} has {', '.join(suite.metrics)}"
        )
    return name


def _found(
    bench: CalibrationRun,
    job: Job,
    sizes: list[int],
    *,
    binary: int | None,
    scan: int | None,
    text: str,
    asked: list[Asked] | None = None,
    binary_asked: list[int] | None = None,
    violations: list[int] | None = None,
) -> Search:
    settings, method = job.config.search, job.config.method
    by_score = settings.rule == "threshold"
    return Search(
        **origin(bench, job),
        method=method.name,
        order=order_name(job.config),
        inputs=method.inputs,
        rule=settings.rule,
        suite=settings.suite if by_score else "",
        split=settings.split if by_score else "",
        threshold=settings.tau if by_score else None,
        relative=settings.relative,
        budget_bytes=None if by_score else int((settings.budget_mib or 0) * MIB),
        binary=binary,
        scan=scan,
        asked=asked or [],
        binary_asked=binary_asked or [],
        violations=violations or [],
        language_model_bytes=sizes,
        text=text,
    )
