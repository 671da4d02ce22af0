"""The files of a report, from the entries of a store: page, Markdown, CSV, parquet, figures."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow
import pyarrow.parquet

from reports.records.measurements import read_measurements
from reports.records.results import CSV_COLUMNS, long_form, read_store, write_csv
from reports.report.leaderboard import Leaderboard, build
from reports.report.markdown import markdown
from reports.report.page import page
from reports.report.references import compared, write_comparisons
from reports.report.studies import Study, studies

FILES = ("results.csv", "results.parquet", "comparisons.csv", "leaderboard.md", "report/index.html")

TEXT = ("model", "method", "low", "high", "order", "inputs", "suite", "metric")
REAL = ("budget_bits", "alpha", "paper_bits", "stored_bits", "score", "ci_low", "ci_high")
SCHEMA = pyarrow.schema(
    [
        (
            name,
            (
                pyarrow.string()
                if name in TEXT
                else pyarrow.float64()
                if name in REAL
                else pyarrow.int64()
            ),
        )
        for name in CSV_COLUMNS
    ]
)


def write_report(root: Path) -> tuple[Leaderboard, list[Study]]:
    """Write FILES and report/figures/ at the root of a store; returns what they show.

    Each file replaces the old one when it is whole.
    """
    rows, failures, problems = read_store(root)
    measured, unreadable = read_measurements(root)
    board = build(rows, failures, [*problems, *unreadable])
    board = replace(board, lines=compared(board.lines))
    found = studies(board.lines, measured)
    (root / "report").mkdir(parents=True, exist_ok=True)
    cells = [cell for line in board.lines for cell in line.cells]
    write_csv(cells, _fresh(root / "results.csv"))
    pyarrow.parquet.write_table(
        pyarrow.Table.from_pylist(list(long_form(cells)), SCHEMA), _fresh(root / "results.parquet")
    )
    write_comparisons(board.lines, _fresh(root / "comparisons.csv"))
    _fresh(root / "leaderboard.md").write_text(markdown(board, found))
    _fresh(root / "report" / "index.html").write_text(page(board, found, root))
    for path in (root / name for name in FILES):
        _fresh(path).replace(path)
    _write_figures(root / "report" / "figures", found)
    return board, found


def _write_figures(folder: Path, found: Sequence[Study]) -> None:
    fresh = _fresh(folder)
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    for study in found:
        if study.svg:
            (
                fresh / f"{re.sub(r'[^a-z0-9]+', '-', study.title.lower()).strip('-')[:80]}.svg"
            ).write_text(study.svg)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


def _fresh(path: Path) -> Path:
    """Where something is written before it replaces the old one."""
    return path.with_name(f".{path.name}.new")
