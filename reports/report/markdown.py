"""The report as Markdown: leaderboard, tables of the studies, scorecard, and what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from reports.paper.claims import claims
from reports.report.findings import findings
from reports.report.leaderboard import Leaderboard
from reports.report.lines import Line, bytes_text
from reports.report.scorecard import scorecard, tally
from reports.report.studies.study import Study


def markdown(board: Leaderboard, studies: Sequence[Study] = ()) -> str:
    """Write the report; pipes and line breaks in names are escaped."""
    parts = (_leaderboard(board), _studies(studies), _scorecard(board), _missing(board))
    return "\n".join(line for part in parts for line in part) + "\n"


def _leaderboard(board: Leaderboard) -> Iterator[str]:
    yield "# Leaderboard"
    yield ""
    head = [
        "variant",
        "paper bits",
        "stored bits",
        "stored bytes",
        "vs full precision",
        *board.titles,
        "errors / empty / unparseable / unreadable pictures",
    ]
    yield from _table(head, [_row(line, board) for line in board.lines])
    if not board.lines:
        yield ""
        yield "The store holds no results yet. `python -m harness +sweep=first_look` makes some."
    yield ""
    yield (
        "Scores are per cent (MME: points; texts: perplexity a token, lower is better) with 95 %"
        " intervals over pictures or windows. Bits and bytes are those of the decoder's linear"
        " layers. Differences to full precision are paired question by question, ratios of"
        " perplexity window by window. ◆ Pareto-optimal: no variant of the same model is both at"
        " least as small and better."
    )


def _row(line: Line, board: Leaderboard) -> list[str]:
    counts = (
        f"{line.errors} / {line.empty} / {line.unparseable} / {line.data_errors} of"
        f" {line.questions}"
    )
    return [
        f"{'◆ ' if line.pareto_optimal else ''}{line.model} {line.label}",
        f"{line.paper_bits:.2f}",
        f"{line.stored_bits:.3f}",
        bytes_text(line.stored_bytes),
        line.vs_full.text if line.vs_full else "—",
        *(f"{s.text} [{s.interval}]" if s else "—" for s in board.scores(line)),
        counts,
    ]


def _studies(studies: Sequence[Study]) -> Iterator[str]:
    for study in studies:
        yield from ("", f"## {study.title}", "", study.text)
        if study.rows:
            yield ""
            yield from _table(study.head, study.rows)


def _scorecard(board: Leaderboard) -> Iterator[str]:
    card = scorecard(board.lines)
    marks = ", ".join(f"{count} {mark}" for mark, count in tally(card).items())
    yield from ("", "## Scorecard", "")
    yield f"Of the paper's {len(card)} published scores: {marks}."
    rows = [
        (
            entry.published.backbone,
            entry.published.title,
            entry.published.benchmark,
            f"{entry.published.score:g}",
            f"{entry.ours.text} [{entry.ours.interval}]",
            entry.mark,
        )
        for entry in card
        if entry.ours is not None
    ]
    if rows:
        yield ""
        yield from _table(("model", "variant", "suite", "paper", "ours", ""), rows)
    yield ""
    yield from _table(
        (
            "the paper's claim",
            "stated",
            "by paper bits, or its tables",
            "by stored bytes",
            "verdict",
        ),
        [(c.claim, c.paper_value, c.paper_bits, c.stored, c.verdict) for c in claims()],
    )
    tested = findings(board.lines)
    if tested:
        yield ""
        yield from _table(
            ("model", "claim", "measured here", "verdict"),
            [(f.model, f.claim, f.measured, f.verdict) for f in tested],
        )


def _missing(board: Leaderboard) -> Iterator[str]:
    if board.failures:
        yield from ("", "## Failed cells", "")
        yield from (
            f"- {_cell(f.model)} {_cell(f.method)} k={f.k} on {_cell(f.suite)}: {_cell(f.error)}"
            for f in board.failures
        )
    if board.problems:
        yield from ("", "## Unreadable or doubtful entries", "")
        yield from (f"- `{_cell(p.path)}`: {_cell(p.reason)}" for p in board.problems)
    if missing := board.missing_scores():
        yield from ("", "## Suites without a score", "")
        yield from (f"- {_cell(name)}: {_cell(', '.join(titles))}" for name, titles in missing)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for row in (head, tuple("---" for _ in head), *rows):
        yield "| " + " | ".join(map(_cell, row)) + " |"


def _cell(text: str) -> str:
    escaped = (
        text.replace("\\", "\\\\")
        .replace("|", "\\|")
        .replace("<", "&lt;")
        .replace(">", "&gt;")
        .replace("`", "\\`")
    )
    return " ".join(escaped.split())
