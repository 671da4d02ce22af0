"""The files of a report: page, Markdown, CSV, Parquet and figures."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from reports.report.leaderboard import Leaderboard, build
from reports.report.markdown import markdown
from reports.report.page import page
from reports.report.read import read_measurements, read_store
from reports.report.references import compare_with_references
from reports.report.studies.collect import collect_studies
from reports.report.studies.study import Study
from reports.report.tables import (
    COMPARISON_COLUMNS,
    RESULT_COLUMNS,
    comparison_rows,
    result_rows,
    write_csv,
    write_parquet,
)

FILES = ("results.csv", "results.parquet", "comparisons.csv", "leaderboard.md", "report/index.html")


def write_report(root: Path) -> tuple[Leaderboard, list[Study]]:
    """Write FILES and report/figures/ at the root of a store.

    Each file replaces the earlier one when it is complete.

    Returns:
        What the files show.

    Raises:
        OSError: a file cannot be written; the earlier report stays as it was.
    """
    cells, failures, problems = read_store(root)
    measurements, unreadable = read_measurements(root)
    board = build(cells, failures, [*problems, *unreadable])
    board = replace(board, lines=compare_with_references(board.lines))
    studies = collect_studies(board.lines, measurements)
    (root / "report").mkdir(parents=True, exist_ok=True)
    results = [one for line in board.lines for one in line.results]
    write_csv(RESULT_COLUMNS, result_rows(results), _new(root / "results.csv"))
    write_parquet(results, _new(root / "results.parquet"))
    write_csv(COMPARISON_COLUMNS, comparison_rows(board.lines), _new(root / "comparisons.csv"))
    _new(root / "leaderboard.md").write_text(markdown(board, studies), encoding="utf-8")
    _new(root / "report" / "index.html").write_text(page(board, studies, root), encoding="utf-8")
    for path in (root / name for name in FILES):
        _new(path).replace(path)
    _write_figures(root / "report" / "figures", studies)
    return board, studies


def _write_figures(folder: Path, studies: Sequence[Study]) -> None:
    new = _new(folder)
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    for study in studies:
        if study.svg:
            name = re.sub(r"[^a-z0-9]+", "-", study.title.lower()).strip("-")[:80]
            (new / f"{name}.svg").write_text(study.svg, encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)


def _new(path: Path) -> Path:
    """Where a file is written before it replaces the earlier one."""
    return path.with_name(f".{path.name}.new")
