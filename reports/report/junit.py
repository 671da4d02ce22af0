"""The gate's verdict as JUnit XML, which CI systems show."""

from __future__ import annotations

from xml.etree import ElementTree

from reports.records.gate import Check, GateRun


def junit(run: GateRun) -> str:
    """Write a test case for each check; an undecided one is skipped with its reason."""
    verdicts = [check.verdict for check in run.checks]
    suite = ElementTree.Element(
        "testsuite",
        name=f"gate.{run.model}.{run.method}",
        tests=str(len(verdicts)),
        failures=str(verdicts.count("fail")),
        errors="0",
        skipped=str(verdicts.count("undecided") + verdicts.count("skipped")),
        time=f"{sum(check.seconds for check in run.checks):.3f}",
    )
    for check in run.checks:
        _add_case(suite, run.method, check)
    root = ElementTree.Element("testsuites")
    root.append(suite)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _add_case(suite: ElementTree.Element, method: str, check: Check) -> None:
    case = ElementTree.SubElement(
        suite,
        "testcase",
        classname=f"{method}.{check.group}",
        name=check.name,
        time=f"{check.seconds:.3f}",
    )
    if check.verdict == "fail":
        ElementTree.SubElement(case, "failure", message=_one_line(check.detail))
    elif check.verdict != "pass":
        reason = _one_line(f"{check.verdict}: {check.detail}")
        ElementTree.SubElement(case, "skipped", message=reason)
    elif check.detail:
        ElementTree.SubElement(case, "system-out").text = _printable(check.detail)


def _one_line(text: str) -> str:
    return " ".join(_printable(text).split())


def _printable(text: str) -> str:
    """XML has no place for most control characters."""
    return "".join(c for c in text if c.isprintable() or c in "\n\t")
