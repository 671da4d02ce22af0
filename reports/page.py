"""results.csv, leaderboard.md and report/index.html from the entries of a store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup

from reports.leaderboard import Leaderboard, build, bytes_text
from reports.measurements import read_measurements
from reports.results import read_store, write_csv
from reports.studies import Study, studies


def markdown(board: Leaderboard, found: Sequence[Study] = ()) -> str:
    """The leaderboard and the tables of the studies; pipes and line breaks in names are escaped."""
    head = [
        "variant",
        "paper bits",
        "stored bits",
        "stored bytes",
        *board.titles,
        "errors / empty / unparseable / unreadable pictures",
    ]
    lines = ["# Leaderboard", "", "| " + " | ".join(map(_cell, head)) + " |", "|" + "---|" * len(head)]
    for line in board.lines:
        texts = [f"{s.text} [{s.interval}]" if s else "—" for s in line.row(board)]
        counts = f"{line.errors} / {line.empty} / {line.unparseable} / {line.data_errors} of {line.questions}"
        name = f"{line.model} {line.label}"
        row = [name, f"{line.paper_bits:.2f}", f"{line.stored_bits:.3f}", bytes_text(line.stored_bytes), *texts, counts]
        lines.append("| " + " | ".join(map(_cell, row)) + " |")
    if not board.lines:
        lines += ["", "The store holds no results yet. `python -m harness +sweep=first_look` makes some."]
    lines += [
        "",
        "Scores are per cent (MME: points; texts: perplexity a token, lower is better) with 95 % intervals over pictures or windows. Bits "
        "and bytes are those of the decoder's linear layers.",
    ]
    for study in found:
        lines += ["", f"## {study.title}", "", study.text]
        if study.rows:
            table = [study.head, tuple("---" for _ in study.head), *study.rows]
            lines += ["", *("| " + " | ".join(map(_cell, row)) + " |" for row in table)]
    if board.failures:
        lines += ["", "## Failed cells", ""]
        lines += [f"- {_cell(f.model)} {_cell(f.method)} k={f.k} on {_cell(f.suite)}: {_cell(f.error)}" for f in board.failures]
    if board.problems:
        lines += ["", "## Unreadable entries", ""] + [f"- `{_cell(p.path)}`: {_cell(p.reason)}" for p in board.problems]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;").replace("`", "\\`")
    return " ".join(escaped.split())


def page(board: Leaderboard, found: Sequence[Study] = ()) -> str:
    environment = Environment(loader=PackageLoader("reports"), autoescape=select_autoescape(["html"]), trim_blocks=True, lstrip_blocks=True)
    environment.filters["bytes_text"] = bytes_text
    environment.filters["svg"] = Markup  # drawn here from escaped labels
    return environment.get_template("leaderboard.html").render(board=board, studies=found)


def write_report(root: Path) -> tuple[Leaderboard, list[Study]]:
    """Write results.csv, leaderboard.md and report/index.html at the root of a store; returns what they show."""
    rows, failures, problems = read_store(root)
    measured, unreadable = read_measurements(root)
    board = build(rows, failures, [*problems, *unreadable])
    found = studies(board.lines, measured)
    (root / "report").mkdir(parents=True, exist_ok=True)
    write_csv([cell for line in board.lines for cell in line.cells], _fresh(root / "results.csv"))
    _fresh(root / "leaderboard.md").write_text(markdown(board, found))
    _fresh(root / "report" / "index.html").write_text(page(board, found))
    for path in (root / "results.csv", root / "leaderboard.md", root / "report" / "index.html"):
        _fresh(path).replace(path)
    return board, found


def _fresh(path: Path) -> Path:
    """Where a file is written before it replaces the old one."""
    return path.with_name(f".{path.name}.new")
