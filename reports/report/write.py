"""The files of a report: page, Markdown, CSV, Parquet and figures."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from reports.records.entries import PARTIAL, RESULTS
from reports.records.measurements import Measurement
from reports.report.leaderboard import Leaderboard, build
from reports.report.lines import CellResult
from reports.report.markdown import markdown
from reports.report.page import page
from reports.report.read import Problem, read_measurements, read_store
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
FIGURES = "report/figures"
PUBLICATIONS = 100  # times that another process may publish between two steps of this one


def write_report(root: Path) -> tuple[Leaderboard, list[Study]]:
    """Write FILES and FIGURES at the root of a store.

    Each file replaces the earlier one when all are complete, whatever other processes write the
    report of the same store. A cell that cannot be shown is left out and told as a problem.

    Returns:
        What the files show.

    Raises:
        OSError: a file cannot be written; the earlier report stays as it was.
    """
    cells, failures, problems = read_store(root)
    measurements, unreadable = read_measurements(root)
    (root / PARTIAL).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root / PARTIAL, prefix="report-") as name:
        new = Path(name)
        board = build(cells, failures, [*problems, *unreadable])
        try:
            written = _write(new, root, board, measurements)
        except OSError:
            raise
        except Exception:
            shown, hidden = _shown_alone(new, root, cells)
            if not hidden:
                raise
            board = build(shown, failures, [*problems, *unreadable, *hidden])
            written = _write(new, root, board, measurements)
        _publish(new, root)
    return written


def _write(
    new: Path, root: Path, board: Leaderboard, measurements: Sequence[Measurement]
) -> tuple[Leaderboard, list[Study]]:
    """Write the report of the store `root` into the folder `new`."""
    board = replace(board, lines=compare_with_references(board.lines))
    studies = collect_studies(board.lines, measurements)
    results = [one for line in board.lines for one in line.results]
    (new / FIGURES).mkdir(parents=True, exist_ok=True)
    write_csv(RESULT_COLUMNS, result_rows(results), new / "results.csv")
    write_parquet(results, new / "results.parquet")
    write_csv(COMPARISON_COLUMNS, comparison_rows(board.lines), new / "comparisons.csv")
    (new / "leaderboard.md").write_text(markdown(board, studies), encoding="utf-8")
    (new / "report" / "index.html").write_text(page(board, studies, root), encoding="utf-8")
    for study in studies:
        if study.svg:
            figure = re.sub(r"[^a-z0-9]+", "-", study.title.lower()).strip("-")[:80]
            (new / FIGURES / f"{figure}.svg").write_text(study.svg, encoding="utf-8")
    return board, studies


def _shown_alone(
    new: Path, root: Path, cells: Sequence[CellResult]
) -> tuple[list[CellResult], list[Problem]]:
    """The cells of which a report can be written, and why it cannot of the others."""
    shown, hidden = [], []
    for one in cells:
        try:
            _write(new, root, build([one], [], []), [])
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001 (of a statistic, a figure, any value)
            name = f"{one.label} on {one.cell.suite}".encode("unicode_escape").decode("ascii")
            reason = f"{name} cannot be shown: {type(error).__name__}: {error}"
            hidden.append(Problem(str(root / RESULTS / one.cell.result), ascii(reason)[1:-1]))
        else:
            shown.append(one)
    return shown, hidden


def _publish(new: Path, root: Path) -> None:
    """Move a complete report to its place; the earlier figures go with the folder `new`."""
    (root / "report").mkdir(exist_ok=True)
    for name in FILES:
        (new / name).replace(root / name)
    for number in range(PUBLICATIONS):
        with contextlib.suppress(FileNotFoundError):
            (root / FIGURES).rename(new / f"earlier-{number}")
        try:
            (new / FIGURES).rename(root / FIGURES)
        except OSError:
            if number + 1 == PUBLICATIONS or not (root / FIGURES).exists():
                raise
        else:
            return
