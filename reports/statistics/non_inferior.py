"""The gate's verdict on a quantization backend: pass, fail or undecided."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from reports.records.gate import Check, Measured, Role, Verdict
from reports.records.results import SuiteResult
from reports.statistics.mean import mean_draws, suite_differences
from reports.statistics.perplexity import perplexity_draws, text_statistic
from reports.statistics.resampling import Floats

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

    It passes where the loss is surely below the margin and fails where it is surely above. Bounds
    are the 5th and 95th percentile of a bootstrap over pictures. Where both answer alike there is
    nothing to draw from, so the lower bound also leaves room for the loss that this many pictures
    could have missed: 1 - 0.05^(1/pictures).

    Args:
        candidate: results by suite.
        other: results by suite.
        margin: tolerated loss, in points of the mean over suites or per cent of perplexity.
        name: of the other.
    """
    title = f"no worse than {name}"
    try:
        points, draws, clusters, unit = _gains(candidate, other)
    except ValueError as error:
        return Check(group="answers", name=title, verdict="undecided", detail=str(error))
    unseen = 100 * (1 - (1 - CONFIDENCE) ** (1 / clusters))
    low, high = np.percentile(draws, [100 * (1 - CONFIDENCE), 100 * CONFIDENCE])
    low = min(float(low), -unseen)
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
) -> tuple[float, Floats, int, str]:
    """How much better the candidate is: (gain, its draws, clusters, unit)."""
    differences = suite_differences(candidate, other)
    if differences:
        points, draws = mean_draws(differences)
        return points, draws, sum(d.paired.clusters for d in differences), "points"
    common = sorted(candidate.keys() & other.keys())
    if not common:
        raise ValueError("they have no suite in common")
    text = common[0]
    change, draws, windows = perplexity_draws(candidate[text], other[text])
    statistic = text_statistic(candidate[text])
    assert statistic is not None, "windows have losses"
    sign = -100 if statistic.lower_is_better else 100
    unit = f"per cent of {statistic.name}"
    return sign * math.expm1(change), sign * np.expm1(draws), windows, unit
