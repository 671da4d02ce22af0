"""The gate's verdict on a quantization backend: pass, fail or undecided."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from reports.records.gate import Check, Measured, Role, Verdict
from reports.records.results import SuiteResult
from reports.statistics.mean import mean_difference, suite_differences
from reports.statistics.perplexity import perplexity_change, text_statistic
from reports.statistics.statistic import LARGEST_EXPONENT

CONFIDENCE = 0.95  # one-sided
SAME_BITS = 1e-3  # stored bits a weight that count as equal
# Largest output error on planted layers, over that of the reference and over that of the earlier
# run.
LARGEST_RATIO: Mapping[Role, float] = {"reference": 1.05, "earlier": 1.02}


def verdict_of(checks: Sequence[Check]) -> Verdict:
    """One verdict from all checks.

    Returns:
        fail where a check failed; undecided where one is, or where no answers were compared; else
        pass.
    """
    verdicts = {check.verdict for check in checks}
    if "fail" in verdicts:
        return "fail"
    compared = any(check.group == "answers" and check.verdict == "pass" for check in checks)
    return "pass" if compared and "undecided" not in verdicts else "undecided"


def judge(
    candidate: Measured, other: Measured, margin: float, *, role: Role, more_bits: float = 0.0
) -> list[Check]:
    """Compare a backend with its reference method, or with its own earlier run.

    Args:
        candidate: the backend.
        other: what it is compared with.
        margin: tolerated loss, in points of the mean over suites or per cent of perplexity.
        role: what `other` is.
        more_bits: how many stored bits a weight more than `other` the backend may have.

    Returns:
        Checks of stored bits, planted layers and answers.
    """
    name = f"{role} {other.method}"
    return [
        _compare_bits(candidate, other, name, more_bits),
        *compare_layers(candidate.layer_errors, other.layer_errors, name, role),
        non_inferior(candidate.results, other.results, margin, name),
    ]


def _compare_bits(candidate: Measured, other: Measured, name: str, more_bits: float) -> Check:
    more = candidate.stored_bits - other.stored_bits
    detail = (
        f"{candidate.stored_bits:.3f} stored bits a weight, the other has {other.stored_bits:.3f}"
    )
    if more <= more_bits + SAME_BITS:
        verdict: Verdict = "pass"
    else:
        verdict = "fail"
        detail += (
            f": {more:+.3f}, so they are not compared at equal stored bits. Allow it with"
            f" gate.more_bits={math.ceil(more * 100) / 100:g}"
        )
    return Check(group="bits", name=f"stores no more than {name}", verdict=verdict, detail=detail)


def compare_layers(
    errors: Sequence[float], others: Sequence[float], name: str, role: Role
) -> list[Check]:
    """Compare output errors on the same planted layers; no check where either side has none."""
    if not errors or not others or len(errors) != len(others):
        return []
    ratio = math.exp(
        np.mean(
            [math.log(max(e, 1e-12) / max(o, 1e-12)) for e, o in zip(errors, others, strict=True)]
        )
    )
    largest = LARGEST_RATIO[role]
    detail = (
        f"{ratio:.3f} times the output error on {len(errors)} planted layers (at most {largest:g})"
    )
    return [
        Check(
            group="layers",
            name=f"layers like {name}",
            verdict="pass" if ratio <= largest else "fail",
            detail=detail,
        )
    ]


def non_inferior(
    candidate: Mapping[str, SuiteResult],
    other: Mapping[str, SuiteResult],
    margin: float,
    name: str,
) -> Check:
    """Test whether the candidate loses less than the margin, one-sided and question by question.

    It passes where the loss is surely below the margin and fails where it is surely above. Both
    bounds are those of `mean_difference` or `perplexity_change`, so they leave room for what this
    many pictures or windows could have missed.

    Args:
        candidate: results by suite.
        other: results by suite.
        margin: tolerated loss, in points of the mean over suites or per cent of perplexity.
        name: of the other.
    """
    title = f"no worse than {name}"
    try:
        points, low, high, clusters, unit = _gains(candidate, other)
    except ValueError as error:
        return Check(group="answers", name=title, verdict="undecided", detail=str(error))
    detail = (
        f"{points:+.2f} {unit}, one-sided 95 % bounds {low:+.2f} and {high:+.2f}, margin"
        f" {margin:g}, {clusters:,} pictures or windows"
    )
    verdict: Verdict = "fail" if high < -margin else "pass" if low > -margin else "undecided"
    if verdict == "undecided":
        detail += ". Too few questions to tell: raise limit=, or the margin"
    return Check(group="answers", name=title, verdict=verdict, detail=detail)


def _gains(
    candidate: Mapping[str, SuiteResult], other: Mapping[str, SuiteResult]
) -> tuple[float, float, float, int, str]:
    """How much better the candidate is: (gain, lower bound, upper bound, clusters, unit)."""
    level = 2 * CONFIDENCE - 1  # two-sided, of two one-sided bounds
    differences = suite_differences(candidate, other, level=level)
    if differences:
        mean = mean_difference(differences, level=level)
        return mean.points, mean.low, mean.high, mean.clusters, "points"
    common = sorted(candidate.keys() & other.keys())
    if not common:
        raise ValueError("they have no suite in common")
    text = common[0]
    change, low, high, windows = perplexity_change(candidate[text], other[text], level=level)
    statistic = text_statistic(candidate[text])
    assert statistic is not None, "windows have losses"
    unit = f"per cent of {statistic.name}"
    gains = [100 * _relative(value) for value in (change, low, high)]
    if statistic.lower_is_better:
        return -gains[0], -gains[2], -gains[1], windows, unit
    return gains[0], gains[1], gains[2], windows, unit


def _relative(change: float) -> float:
    """The change of a score by a change of its logarithm."""
    return math.expm1(change) if change < LARGEST_EXPONENT else math.inf
