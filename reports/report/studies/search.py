"""The table of a search for k."""

from __future__ import annotations

from reports.records.measurements import Search
from reports.report.studies.study import Study


def search(measured: Search) -> Study:
    """Every k that a search evaluated, and what it decided."""
    rows = [
        (
            str(trial.k),
            f"{trial.score:.1f} [{trial.low:.1f}, {trial.high:.1f}]",
            str(trial.questions),
            "yes" if trial.holds else "no",
            "interval" if trial.decided else "all questions",
        )
        for trial in measured.asked
    ]
    title = f"Search for k ({measured.method}, {measured.rule})"
    head = ("k", "score", "questions", "holds", "decided by")
    return Study(title, measured.text, "", head, rows)
