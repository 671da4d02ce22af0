"""The regression verdict on a quantization backend: pass, fail or undecided, for people and for CI."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal
from xml.etree import ElementTree

import numpy as np
from pydantic import Field

from reports.records.results import SCHEMA_VERSION, Strict, SuiteResult, Version
from reports.statistics.estimate import Floats
from reports.statistics.mean import mean_draws, perplexity_draws, suite_differences

Verdict = Literal["pass", "fail", "undecided", "skipped"]
CONFIDENCE = 0.95  # one-sided
SAME_BITS = 1e-3
WORSE_LAYERS, CHANGED_LAYERS = (
    1.05,
    1.02,
)  # output error on planted layers, over that of the reference and of the earlier run


class Check(Strict):
    """One thing that was asked of a backend. group: contract, layers, bits, answers."""

    group: str
    name: str
    verdict: Verdict
    detail: str = ""
    seconds: float = 0.0


class Measured(Strict):
    """What is known of a backend. layer_errors: relative output errors on planted layers, empty
    where it takes whole models only; results: by suite.
    """

    method: str
    paper_bits: float
    stored_bits: float
    stored_bytes: int
    layer_errors: tuple[float, ...] = ()
    results: dict[str, SuiteResult] = Field(default_factory=dict)


class GateRun(Strict):
    """A run of the gate. measured:

    None where the contract was broken, so that nothing was evaluated. margin: in points of the mean
    over suites, or per cent of perplexity.
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


def verdict_of(checks: Sequence[Check]) -> Verdict:
    """fail if anything failed; undecided if anything is, or if nothing was compared with anything;
    else pass.
    """
    found = {check.verdict for check in checks}
    if "fail" in found:
        return "fail"
    compared = any(check.group == "answers" and check.verdict == "pass" for check in checks)
    return "pass" if compared and "undecided" not in found else "undecided"


Role = Literal["reference", "earlier"]


def judge(
    candidate: Measured, other: Measured, margin: float, *, role: Role, more_bits: float = 0.0
) -> list[Check]:
    """The candidate beside its reference method, or its own earlier run: stored bits, planted
    layers and answers.

    more_bits: how many stored bits a weight more than the other it may have.
    """
    name = f"{role} {other.method}"
    return [
        _bits(candidate, other, name, more_bits),
        *layers(candidate.layer_errors, other.layer_errors, name, role),
        non_inferior(candidate.results, other.results, margin, name),
    ]


def _bits(candidate: Measured, other: Measured, name: str, more_bits: float) -> Check:
    more = candidate.stored_bits - other.stored_bits
    told = (
        f"{candidate.stored_bits:.3f} stored bits a weight, the other has {other.stored_bits:.3f}"
    )
    if more <= more_bits + SAME_BITS:
        return Check(group="bits", name=f"stores no more than {name}", verdict="pass", detail=told)
    told += (
        f": {more:+.3f}, so they are not compared at equal stored bits. Allow it with"
        f" gate.more_bits={math.ceil(more * 100) / 100:g}"
    )
    return Check(group="bits", name=f"stores no more than {name}", verdict="fail", detail=told)


def layers(errors: Sequence[float], others: Sequence[float], name: str, role: Role) -> list[Check]:
    """Output errors on the same planted layers."""
    if not errors or not others or len(errors) != len(others):
        return []
    ratio = math.exp(
        np.mean(
            [math.log(max(e, 1e-12) / max(o, 1e-12)) for e, o in zip(errors, others, strict=True)]
        )
    )
    most = CHANGED_LAYERS if role == "earlier" else WORSE_LAYERS
    told = f"{ratio:.3f} times the output error on {len(errors)} planted layers (at most {most:g})"
    return [
        Check(
            group="layers",
            name=f"layers like {name}",
            verdict="pass" if ratio <= most else "fail",
            detail=told,
        )
    ]


def non_inferior(
    mine: Mapping[str, SuiteResult], theirs: Mapping[str, SuiteResult], margin: float, name: str
) -> Check:
    """One-sided and paired question by question: pass when the loss is surely below the margin,
    fail when it is surely above.

    Bounds are the 5th and 95th percentile of a bootstrap over pictures. Where both answer alike
    there is nothing to draw from, so the lower bound also leaves room for the loss that this many
    pictures could have missed: 1 - 0.05^(1/pictures).
    """
    title = f"no worse than {name}"
    try:
        points, draws, clusters, unit = _losses(mine, theirs)
    except ValueError as error:
        return Check(group="answers", name=title, verdict="undecided", detail=str(error))
    unseen = 100 * (1 - (1 - CONFIDENCE) ** (1 / clusters))
    low, high = np.percentile(draws, [100 * (1 - CONFIDENCE), 100 * CONFIDENCE])
    low = min(float(low), -unseen)
    told = (
        f"{points:+.2f} {unit}, one-sided 95 % bounds {low:+.2f} and {high:+.2f}, margin"
        f" {margin:g}, {clusters:,} pictures or windows"
    )
    if high < -margin:
        return Check(group="answers", name=title, verdict="fail", detail=told)
    if low > -margin:
        return Check(group="answers", name=title, verdict="pass", detail=told)
    told += ". Too few questions to tell: raise limit=, or the margin"
    return Check(group="answers", name=title, verdict="undecided", detail=told)


def _losses(
    mine: Mapping[str, SuiteResult], theirs: Mapping[str, SuiteResult]
) -> tuple[float, Floats, int, str]:
    """(first minus second, its draws, pictures, unit); more is better."""
    differences = suite_differences(mine, theirs)
    if differences:
        points, draws = mean_draws(differences)
        return points, draws, sum(d.paired.clusters for d in differences), "points"
    texts = sorted(mine.keys() & theirs.keys())
    if not texts:
        raise ValueError("they have no suite in common")
    change, draws, windows = perplexity_draws(mine[texts[0]], theirs[texts[0]])
    return -100 * math.expm1(change), -100 * np.expm1(draws), windows, "per cent of perplexity"


def junit(run: GateRun) -> str:
    """JUnit XML: a test case for each check; one that is undecided is skipped with its reason."""
    counts = {
        kind: sum(check.verdict == kind for check in run.checks)
        for kind in ("fail", "undecided", "skipped")
    }
    suite = ElementTree.Element(
        "testsuite",
        name=f"gate.{run.model}.{run.method}",
        tests=str(len(run.checks)),
        failures=str(counts["fail"]),
        errors="0",
        skipped=str(counts["undecided"] + counts["skipped"]),
        time=f"{sum(check.seconds for check in run.checks):.3f}",
    )
    for check in run.checks:
        case = ElementTree.SubElement(
            suite,
            "testcase",
            classname=f"{run.method}.{check.group}",
            name=check.name,
            time=f"{check.seconds:.3f}",
        )
        if check.verdict == "fail":
            ElementTree.SubElement(case, "failure", message=_one_line(check.detail))
        elif check.verdict != "pass":
            ElementTree.SubElement(
                case, "skipped", message=_one_line(f"{check.verdict}: {check.detail}")
            )
        elif check.detail:
            ElementTree.SubElement(case, "system-out").text = _printable(check.detail)
    root = ElementTree.Element("testsuites")
    root.append(suite)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _one_line(text: str) -> str:
    return " ".join(_printable(text).split())


def _printable(text: str) -> str:
    """XML has no place for most control characters."""
    return "".join(c for c in text if c.isprintable() or c in "\n\t")
